"""The README of the agent says what is true of it."""

import re
from pathlib import Path

from taskroll_agent import AgentSettings, prepared
from taskroll_agent.settings import PREFIX

README = (Path(__file__).parents[2] / "agent" / "README.md").read_text()


def test_every_setting_is_in_the_table_with_its_default() -> None:
    rows = {
        name: row
        for row in re.findall(r"^\| `[A-Z].*\|$", README, re.MULTILINE)
        for name in re.findall(r"`([A-Z_]+)`", row.split("|")[1])
    }
    assert rows.keys() == {name.upper() for name in AgentSettings.model_fields}
    for name in ("load_timeout", "read_timeout", "resync_interval", "start_timeout"):
        default = rows[name.upper()].split("|")[2].strip()
        assert float(default) == AgentSettings.model_fields[name].default
    assert PREFIX in README


def test_the_examples_compile() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        compile(block, "README.md", "exec", flags=0x2000)  # top-level await


def test_the_number_of_prepared_generations() -> None:
    assert f"At most {prepared.MOST} generations are kept prepared" in README
