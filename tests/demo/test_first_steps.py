"""docs/first-steps.md, pasted into a shell block after block as a newcomer would."""

import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "first-steps.md"
LEFT_OUT = {".venv", ".git", "build", "interop"}


def test_every_block_works_in_one_shell(tmp_path: Path) -> None:
    script = "\n".join(re.findall(r"^```sh\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL))
    # At the root of a checkout, but leaving this one's `build` alone; the environment is the one that is there.
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for entry in ROOT.iterdir():
        if entry.name not in LEFT_OUT:
            (checkout / entry.name).symlink_to(entry)
    (checkout / "Makefile").unlink()
    (checkout / "Makefile").write_text("setup:\n")
    (checkout / ".venv").symlink_to(ROOT / ".venv")
    # Names no one else's server: variables of whoever runs the tests must not lead elsewhere.
    ours = {key: value for key, value in os.environ.items() if not key.startswith(("TASKROLL_", "TEMPORAL_", "KUBE"))}
    environment = ours | {"XDG_DATA_HOME": str(tmp_path / "data"), "TASKROLL_BY": "a-newcomer"}
    shell = shutil.which("bash")
    assert shell
    try:
        ran = subprocess.run(
            [shell, "-e", "-o", "pipefail", "-c", script],
            cwd=checkout, env=environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
    finally:
        subprocess.run(
            [ROOT / ".venv/bin/taskroll", "dev", "down", "--delete-data"],
            env=environment, capture_output=True, check=False,
        )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    greetings = [line for line in ran.stdout.splitlines() if line.endswith(", world")]
    assert greetings == [
        "Hello, world",
        "Good morning, world",
        "Good morning, world",
        "Good morning, world",
        "Hello, world",
    ]
    assert "ended with 11" in ran.stdout
    assert "no module named nowhere_to_be_found" in ran.stdout
    assert "release 3 (" in ran.stdout
