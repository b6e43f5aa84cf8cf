"""What can go wrong with the local stack. Every message says what to do next."""


class DevStackError(Exception):
    """Base of all errors of this package."""


class DataFolderUnusable(DevStackError):
    """The data folder is none, and cannot be made."""


class BinaryNotFound(DevStackError):
    """No usable binary: the message lists each place that was tried and why it did not serve."""


class BinaryRefused(DevStackError):
    """A file was found but does not serve: not executable, too old, or its version cannot be read."""


class DownloadFailed(DevStackError):
    """The network, the server or the content of a download said no."""


class ChecksumMismatch(DownloadFailed):
    """A download arrived whole but is not the file whose checksum is pinned."""


class BuildFailed(DevStackError):
    """`go build` ended with an error; the message holds the end of its output."""


class StackStartFailed(DevStackError):
    """A component ended, or did not get ready in time; the message holds the end of its log."""


class StackAlreadyRunning(DevStackError):
    """The data folder belongs to a stack that runs."""


class StackNotRunning(DevStackError):
    """No stack runs on the data folder."""
