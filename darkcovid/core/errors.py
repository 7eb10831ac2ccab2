"""Every expected failure: one line that says what is wrong, where, and what to do about it."""


class DarkCovidError(Exception):
    """The run failed (exit code 1). The message is the whole story: no traceback is shown."""

    exit_code = 1


class Interrupted(KeyboardInterrupt):
    """Stopped by a person or a signal after the run folder was made, so that `--resume` can continue (exit code 130)."""


class UsageError(DarkCovidError):
    """The request was wrong: a recipe, an option or a path (exit code 2)."""

    exit_code = 2


class DataError(DarkCovidError):
    """Data is missing or damaged (exit code 3)."""

    exit_code = 3


def one_line(error: object) -> str:
    """An error's words without line breaks."""
    return " ".join(str(error).split())
