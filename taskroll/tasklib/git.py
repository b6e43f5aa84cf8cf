"""Git provenance of a package path, asked of the ``git`` command."""

import logging
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from taskroll.models.provenance import MAX_DIRTY_FILES, GitProvenance

SECONDS = 10.0
"""For each call. ``git status`` of a large working tree on a cold disk takes a few seconds."""

_logger = logging.getLogger(__name__)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
_MAX_LINE = 300
# A repository's own settings can name programs that `git status` would run: nothing of a package is to run.
_NO_PROGRAMS = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-c", "core.pager=cat")


class _GitFailed(Exception):
    """A call failed; the message is Git's own first line."""


def git_provenance(path: Path, *, warn: Callable[[str], None] = _logger.warning) -> GitProvenance | None:
    """Commit, branch, dirty flag, remote, subject and author of the repository that a path lies in.

    Args:
        path: a folder or file.
        warn: is told, in one sentence with the way out, why there is no answer, or only part of one. A path outside
            of any repository is told nothing: that is an ordinary case.

    Returns:
        None outside of a repository, without a commit, without ``git``, or where Git refuses or takes too long.
    """
    folder = path if path.is_dir() else path.parent
    try:
        head = _git(folder, "log", "-1", "--no-show-signature", "--format=%H%x00%s%x00%an <%ae>", "HEAD")
    except FileNotFoundError:
        warn("git is not installed, so the update will not say which commit it came from")
        return None
    except _GitFailed as error:
        _say_why(str(error), folder, warn)
        return None
    commit, subject, author = (*head.rstrip("\n").split("\0"), "", "")[:3]
    try:
        changed = _changed_files(folder, path)
    except _GitFailed as error:
        # Without an answer the sources may be anything: they do not count as the commit's.
        warn(f"git could not compare {path} with the commit, which counts as uncommitted changes: {error}")
        changed = ["?"]
    return GitProvenance(
        commit=commit,
        branch=_optional(folder, "symbolic-ref", "--short", "-q", "HEAD"),
        dirty=bool(changed),
        dirty_files=tuple(changed[:MAX_DIRTY_FILES]),
        remote=_remote(folder),
        subject=_line(subject),
        author=_line(author),
    )


def without_credentials(address: str) -> str | None:
    """A remote's address without user, password, query and fragment; None where it is no plain address.

    ``git@host:path`` stays as it is: that form has no password, and its user is the same for everybody.
    """
    if "::" in address.partition("/")[0]:
        return None
    if "://" not in address:
        return _line(address)
    try:
        parts = urlsplit(address)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return None
    return _line(urlunsplit((parts.scheme, host, parts.path, "", "")))


def _say_why(complaint: str, folder: Path, warn: Callable[[str], None]) -> None:
    if "not a git repository" in complaint:
        return
    if "dubious ownership" in complaint:
        named = re.search(r"repository at '(.*)'", complaint)
        repository = named.group(1) if named else "REPOSITORY"
        warn(
            f"git does not trust the owner of {folder}, so the update will not say which commit it came from; "
            f"if you do: git config --global --add safe.directory '{repository}'"
        )
    elif "does not have any commits" in complaint or "ambiguous argument 'HEAD'" in complaint:
        warn(f"the repository of {folder} has no commit yet, so the update will not say which one it came from")
    else:
        warn(f"git failed, so the update will not say which commit it came from: {complaint}")


def _changed_files(folder: Path, path: Path) -> list[str]:
    """Files that differ from the commit, by name. Ignored ones count where they are Python sources: they are sent."""
    place = "." if path.is_dir() else path.name
    status = _git(folder, "status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames", "--", place)
    changed = {entry[3:] for entry in status.split("\0") if len(entry) > 3}
    top = _git(folder, "rev-parse", "--show-prefix").rstrip("\n")
    ignored = _git(folder, "ls-files", "-z", "--others", "--ignored", "--exclude-standard", "--", place)
    changed |= {top + entry for entry in ignored.split("\0") if entry.endswith(".py")}
    return sorted(_line(name) for name in changed)


def _remote(folder: Path) -> str | None:
    branch = _optional(folder, "symbolic-ref", "--short", "-q", "HEAD")
    followed = _optional(folder, "config", "--get", f"branch.{branch}.remote") if branch else None
    for name in dict.fromkeys((followed, "origin")):
        # The configured address, not `git remote get-url`: that one applies insteadOf, which people put tokens in.
        if name and (address := _optional(folder, "config", "--get", f"remote.{name}.url")):
            return without_credentials(address)
    return None


def _optional(folder: Path, *arguments: str) -> str | None:
    """A value that may well be absent; Git says so by its exit code."""
    try:
        return _line(_git(folder, *arguments)) or None
    except _GitFailed:
        return None


def _line(text: str) -> str:
    cleaned = _CONTROL.sub(" ", text).strip()
    return cleaned if len(cleaned) <= _MAX_LINE else cleaned[: _MAX_LINE - 1] + "…"


def _git(folder: Path, *arguments: str) -> str:
    """Run Git in a folder.

    Raises:
        FileNotFoundError: where there is no ``git``.
        _GitFailed: where it ends with an error or takes too long.
    """
    # GIT_DIR and its like point elsewhere when taskroll is called from a Git hook.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C", "LANGUAGE": "C"}
    try:
        done = subprocess.run(  # noqa: S603
            ["git", *_NO_PROGRAMS, "-C", str(folder), *arguments],  # noqa: S607
            capture_output=True,
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
            timeout=SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise _GitFailed(f"git {arguments[0]} took longer than {SECONDS:g} s") from error
    if done.returncode != 0:
        complaint = done.stderr.decode(errors="replace").strip()
        first = next((line for line in complaint.splitlines() if line.startswith("fatal:")), complaint)
        raise _GitFailed(_line(first.removeprefix("fatal: ")) or f"git {arguments[0]} ended with {done.returncode}")
    return done.stdout.decode(errors="replace")
