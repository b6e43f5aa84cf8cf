"""What reads the output decides its form: a terminal, a pipe, NO_COLOR, a reader that has enough."""

import asyncio
import contextlib
import os
import pty
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from starter.client import TaskrollClient
from taskroll.models.decision import AbortInput

from .place import ROOT, Place

Package = Callable[..., Path]
ESCAPE = "\x1b"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


async def on_terminal(place: Place, *arguments: str, **environ: str) -> tuple[int, str]:
    """Run a command whose stdout and stderr are a terminal; return its exit code and what the terminal got."""
    leader, follower = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "starter.cli",
        *arguments,
        cwd=ROOT,
        env={**place.environ, "TERM": "xterm-256color", **environ},
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)

    def read() -> str:
        got = b""
        # A terminal whose last program has ended answers with EIO.
        with contextlib.suppress(OSError):
            while chunk := os.read(leader, 65536):
                got += chunk
        os.close(leader)
        return got.decode()

    text = await asyncio.to_thread(read)
    return await process.wait(), text


async def test_a_terminal_gets_a_live_view_and_colours(place: Place, package: Package) -> None:
    reason = "[red]x[/red] [/]"
    code, text = await on_terminal(place, "deploy", str(package(1)), "--request-id", "one", "--reason", reason)
    assert code == 0, text
    assert COLOUR.search(text)
    # The live view is drawn over and taken away; what stays is the status at the end.
    assert f"{ESCAPE}[2K" in text
    live, _, final = COLOUR.sub("", text).rpartition("update one in namespace")
    assert reason in live
    assert reason in final
    assert re.search(r"state +completed, release 1", final)
    assert re.search(r"verify +✓ done", final)


async def test_no_color_leaves_out_all_styles(place: Place, package: Package) -> None:
    await place.deployed(package(1), "one")
    for arguments in (["status", "one"], ["list"], ["status", "nobody"]):
        _, coloured = await on_terminal(place, *arguments)
        _, plain = await on_terminal(place, *arguments, NO_COLOR="1")
        assert COLOUR.search(coloured), arguments
        assert ESCAPE not in plain, arguments


async def test_a_pipe_gets_whole_lines(place: Place, package: Package) -> None:
    reason = "a long reason " * 20
    await place.run("deploy", str(package(1)), "--request-id", "one", "--reason", reason.strip())
    for arguments in (["status", "one"], ["history"], ["list"]):
        ran = await place.run(*arguments, COLUMNS="40")
        assert reason.strip() in ran.out, "nothing is cut or wrapped where no terminal reads it"
        assert all(line == line.rstrip() for line in ran.out.splitlines())
        assert ESCAPE not in ran.out


@pytest.mark.parametrize(
    "arguments",
    [["status", "one"], ["watch", "one"], ["versions"], ["list"], ["history"], ["deploy", "PACKAGE", "--dry-run"]],
    ids=lambda arguments: arguments[0],
)
async def test_json_is_one_document(place: Place, package: Package, arguments: list[str]) -> None:
    folder = package(1)
    await place.deployed(folder, "one")
    ran = await place.run(*(str(folder) if each == "PACKAGE" else each for each in arguments), "-o", "json")
    assert isinstance(ran.document(), dict), ran.err


async def test_a_reader_that_has_enough_is_no_error(place: Place, package: Package) -> None:
    await place.deployed(package(1), "one")
    command = f"{sys.executable} -m starter.cli status one -o json | head -c 1"
    process = await asyncio.create_subprocess_shell(
        command, cwd=ROOT, env=place.environ, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert (out, err) == (b"{", b"")


@pytest.mark.parametrize("reader", [["versions"], ["--help"]], ids=lambda arguments: arguments[0])
async def test_a_reader_that_went_away_is_no_error(place: Place, reader: list[str]) -> None:
    gone, writer = os.pipe()
    os.close(gone)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "starter.cli", *reader,
        cwd=ROOT, env=place.environ, stdout=writer, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    os.close(writer)
    _, err = await process.communicate()
    assert (process.returncode, err) == (0, b"")


@pytest.mark.parametrize(
    ("command", "redirection", "code", "said"),
    [
        ("list", ">&-", 2, "error: stdout is closed; to do without the output, send it to /dev/null\n"),
        ("versions", ">&-", 2, "error: stdout is closed; to do without the output, send it to /dev/null\n"),
        ("list -o json", ">/dev/full", 1,
         "error: stdout cannot be written: No space left on device; send the output elsewhere\n"),
        ("versions", ">/dev/full", 1,
         "error: stdout cannot be written: No space left on device; send the output elsewhere\n"),
    ],
)  # fmt: skip
async def test_a_stdout_that_cannot_be_written(
    place: Place, command: str, redirection: str, code: int, said: str
) -> None:
    process = await asyncio.create_subprocess_shell(
        f"exec {sys.executable} -m starter.cli {command} {redirection}",
        cwd=ROOT, env=place.environ, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, err = await process.communicate()
    assert (process.returncode, err.decode()) == (code, said)


async def test_a_locale_without_the_letters(place: Place, package: Package) -> None:
    await place.deployed(package(1), "one")
    await place.run("deploy", str(package(2)), "--request-id", "two", "--reason", "größer")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for arguments in (["status", "one"], ["list"]):
        ran = await place.run(*arguments, **ascii_only)
        assert (ran.code, ran.err) == (0, ""), arguments
        assert ran.out.isascii()
    listed = (await place.run("list", "-o", "json", **ascii_only)).document()
    assert listed["updates"][0]["reason"] == "größer", "a document loses nothing"


async def test_a_narrow_terminal_gets_a_line_per_cell(place: Place, package: Package) -> None:
    await place.run("deploy", str(package(1)), "--request-id", "one", "--reason", "first")
    _, text = await on_terminal(place, "list", COLUMNS="40")
    lines = COLOUR.sub("", text).replace("\r", "").splitlines()
    assert [line.split() for line in lines if line.strip()][:3] == [
        ["REQUEST", "ID", "one"],
        ["STATE", "completed"],
        ["RELEASE", "1"],
    ]
    _, wide = await on_terminal(place, "list", COLUMNS="120")
    assert "REQUEST ID  STATE" in COLOUR.sub("", wide)


async def test_nothing_to_show_is_said_on_stderr(place: Place) -> None:
    for command in ("history", "list"):
        ran = await place.run(command)
        assert (ran.code, ran.out, ran.err) == (0, "", "nothing to show\n")


async def test_a_check_of_versions_without_a_replica_proves_nothing(place: Place) -> None:
    assert (await place.run("versions")).code == 0
    assert (await place.run("versions", "--check")).code == 15


async def test_a_live_view_that_is_left(place: Place, package: Package, client: TaskrollClient) -> None:
    arguments = ("deploy", str(package(1)), "--request-id", "one", "--approval", "required", "--timeout", "2")
    code, text = await on_terminal(place, *arguments)
    assert code == 14
    assert "Come back with: taskroll watch one" in text
    assert f"{ESCAPE}[?25h" in text, "the cursor is shown again"
    await client.abort("one", AbortInput(by="tester"))
    await client.wait("one")
