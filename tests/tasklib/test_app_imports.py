"""Whether an app uses modules of a closure, as far as its text tells."""

import pytest

from taskroll.tasklib.app_imports import uses_any

SOURCES = {
    "lib.task.unit.encoder": "class Encoder: ...\n",
    "lib.task.unit.writer": "class Writer: ...\n",
    "lib.task.composite.sketch": "from lib.task.unit.encoder import Encoder\n",
}
CLOSURE = {"lib.task.unit.encoder", "lib.task.composite.sketch"}


@pytest.mark.parametrize(
    ("app", "uses"),
    [
        ("from lib.task.unit.encoder import Encoder\n", True),
        ("import lib.task.composite.sketch as sketch\n", True),
        ("from lib.task.unit import writer, encoder\n", True),
        ("async def serve(request):\n    from lib.task.unit.encoder import Encoder\n", True),
        ("from lib.task.unit.writer import Writer\n", False),
        ("import json\n", False),
        ("", False),
        ("import importlib\nname = input()\nimportlib.import_module(name)\n", None),
        ("import importlib\nfrom lib.task.unit.encoder import Encoder\nimportlib.import_module(input())\n", True),
        ("def serve(:\n", None),
    ],
)
def test_verdict(app: str, uses: bool | None) -> None:
    assert uses_any(app, SOURCES, CLOSURE) is uses
