"""Where the sources of an update came from, for the record."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MAX_DIRTY_FILES = 20
"""Names kept of changed files: enough to recognise what was going on, small enough for a workflow's history."""

Commit = Annotated[str, StringConstraints(pattern=r"^(?:[0-9a-f]{40}|[0-9a-f]{64})$")]
"""40 hex digits; 64 in a repository that uses SHA-256."""
Line = Annotated[str, StringConstraints(max_length=300)]


class GitProvenance(BaseModel):
    """The Git commit that was checked out, and whether the sources were those of the commit.

    What the deploying side says of itself: nobody has verified it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    commit: Commit
    branch: Line | None = None
    """None where no branch was checked out."""
    dirty: bool
    """Whether files under the path differ from the commit: changed, staged, deleted, untracked, or ignored sources."""
    dirty_files: tuple[Line, ...] = Field(default=(), max_length=MAX_DIRTY_FILES)
    """The first of them, relative to the repository."""
    remote: Line | None = None
    """Address of the remote that the branch follows, else of ``origin``; without user, password and query."""
    subject: Line = ""
    author: Line = ""
    """``Name <address>`` of the commit's author."""
