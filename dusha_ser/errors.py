"""Errors that users meet: what came, what is allowed and what to do."""


class WrongUseError(ValueError):
    """What the user asked for cannot be done; programs end with status 2.

    The message says what came, what is allowed and what to do.
    """


class MissingInputError(WrongUseError, FileNotFoundError):
    """A file or folder that the user named, or that the work needs, is not there; status 2."""


class WorkFailedError(RuntimeError):
    """The work was asked for rightly and failed (network, disk, broken data); status 1."""


def first_cause(error: BaseException) -> BaseException:
    """Return what an error came from in the end; libraries wrap it in one that says nothing."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def first_line(error: BaseException) -> str:
    """Return the first line of a library's message; the rest is advice that does not fit here."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
