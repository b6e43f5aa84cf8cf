"""The exit codes of ``taskroll``, one place for all of them; ``docs/cli.md`` lists them for users."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What a script can tell from how ``taskroll`` ended. 10 and up are outcomes of an update, below are errors."""

    DONE = 0
    UNEXPECTED = 1
    """A bug, or something that nobody foresaw; ``--debug`` shows the traceback."""
    BAD_INPUT = 2
    """Wrong usage, a wrong value, a package that cannot be deployed. Nothing was changed."""
    NOT_FOUND = 3
    """No such update or release."""
    UNREACHABLE = 4
    """Temporal, the workers or the API server do not answer. What was started goes on."""
    CONFLICT = 5
    """The request id is taken by another request, or the update is not where the command makes sense."""
    REFUSED = 6
    """The API server refuses it to these credentials, or refuses the object."""
    NO_CHANGE = 10
    ROLLED_BACK = 11
    REJECTED = 12
    NEEDS_OPERATOR = 13
    STILL_RUNNING = 14
    """``--timeout`` was over before the update; it goes on."""
    DEVIATING = 15
    """``versions --check``: not every replica runs the current release."""
    UNHEALTHY = 16
    """``doctor``: it found a problem."""
    INTERRUPTED = 130
    """Ctrl-C, as shells have it; an update that was started goes on."""


_BY_OUTCOME = {
    "completed": ExitCode.DONE,
    "no_change": ExitCode.NO_CHANGE,
    "rolled_back": ExitCode.ROLLED_BACK,
    "rejected": ExitCode.REJECTED,
    "needs_operator": ExitCode.NEEDS_OPERATOR,
    "released": ExitCode.NEEDS_OPERATOR,
}


def of_outcome(outcome: str | None) -> ExitCode:
    """The exit code for an update's outcome; None means that its workflow is gone before it had one."""
    return _BY_OUTCOME.get(outcome or "", ExitCode.NEEDS_OPERATOR)


def of_error(error: Exception) -> ExitCode:
    """The exit code for an error."""
    from taskroll.models import errors

    kinds: list[tuple[type[Exception], ExitCode]] = [
        (errors.InvalidRequest, ExitCode.BAD_INPUT),
        (errors.InvalidSource, ExitCode.BAD_INPUT),
        (errors.UnknownUpdate, ExitCode.NOT_FOUND),
        (errors.UnknownRelease, ExitCode.NOT_FOUND),
        (errors.ServiceUnavailable, ExitCode.UNREACHABLE),
        (errors.RequestConflict, ExitCode.CONFLICT),
        (errors.WrongPhase, ExitCode.CONFLICT),
        (errors.ForeignWrite, ExitCode.CONFLICT),
        (errors.RefusedByCluster, ExitCode.REFUSED),
        (errors.TamperedState, ExitCode.NEEDS_OPERATOR),
    ]
    for kind, code in kinds:
        if isinstance(error, kind):
            return code
    by_code = {
        "NotConfigured": ExitCode.BAD_INPUT,
        "NotFound": ExitCode.NOT_FOUND,
        "AlreadyExists": ExitCode.CONFLICT,
        "Conflict": ExitCode.CONFLICT,
    }
    return by_code.get(getattr(error, "code", ""), ExitCode.UNEXPECTED)
