"""Where the endpoint's tokens come from, and what it does without any."""

import signal
from pathlib import Path

import pytest
from starlette.requests import Request

from starter.http.problems import Unauthenticated
from starter.http.tokens import BearerTokens, LoopbackOnly, is_loopback, read_authentication
from taskroll.models.errors import InvalidRequest

from .place import Place, line_with

ONE, TWO, THREE = "token-number-one-1", "token-number-two-2", "token-number-three"


def passes(authentication: object, token: str) -> bool:
    headers = [(b"authorization", f"Bearer {token}".encode())]
    try:
        authentication.check(Request({"type": "http", "headers": headers}))  # type: ignore[attr-defined]
    except Unauthenticated:
        return False
    return True


def test_tokens_of_variable_and_file(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# of the pipeline\n{TWO}\n\n  {THREE}  \n")
    found = read_authentication(file, {"TASKROLL_HTTP_TOKEN": ONE})
    assert [passes(found, token) for token in (ONE, TWO, THREE, "token-number-four-4")] == [True, True, True, False]
    by_variable = read_authentication(None, {"TASKROLL_HTTP_TOKEN_FILE": str(file)})
    assert passes(by_variable, TWO)
    several = read_authentication(None, {"TASKROLL_HTTP_TOKEN": f"{ONE}, {TWO}"})
    assert passes(several, ONE)
    assert passes(several, TWO)


def test_none_means_this_machine_only() -> None:
    assert isinstance(read_authentication(None, {"TASKROLL_HTTP_TOKEN": ""}), LoopbackOnly)


@pytest.mark.parametrize(
    ("tokens", "said"),
    [
        (["short"], "5 characters"),
        (["with a blank in it"], "cannot carry"),
        (["ümlaut-token-number-1"], "cannot carry"),
        ([], "no bearer token"),
    ],
)
def test_tokens_that_are_none(tokens: list[str], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as refused:
        BearerTokens(tokens)
    assert all(token not in refused.value.message for token in tokens)


@pytest.mark.parametrize("content", [None, "", "# nothing\n"])
def test_a_file_without_tokens(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "tokens"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InvalidRequest, match="token file"):
        read_authentication(file, {})


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.3.2.1", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("example.org", False),
        ("127.0.0.1.example.org", False),
    ],
)
def test_is_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT], ids=lambda stop: stop.name)
async def test_others_are_served_only_with_a_token(idle_place: Place, stop: signal.Signals) -> None:
    ran = await idle_place.run("serve", "--host", "0.0.0.0", "--port", "0")
    assert ran.code == 2
    assert "TASKROLL_HTTP_TOKEN" in ran.err
    process = await idle_place.start("serve", "--host", "0.0.0.0", "--port", "0", TASKROLL_HTTP_TOKEN=ONE)
    await line_with(process.stderr, "Uvicorn running on")
    process.send_signal(stop)
    out, err = await process.communicate()
    assert (process.returncode, out) == (0, b""), err
    assert b"Traceback" not in err


async def test_a_port_that_is_taken(idle_place: Place) -> None:
    process = await idle_place.start("serve", "--port", "0")
    port = (await line_with(process.stderr, "Uvicorn running on")).partition("127.0.0.1:")[2].split()[0]
    ran = await idle_place.run("serve", "--port", port)
    assert ran.code == 2
    assert f"127.0.0.1:{port}" in ran.err
    process.terminate()
    await process.communicate()
