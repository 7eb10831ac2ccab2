"""Every expected failure: one line that says what is wrong, where, and what to do about it."""


class DarkCovidError(Exception):
    """The run failed (exit code 1). The message is the whole story: no traceback is shown."""

    exit_code = 1


class RequestError(DarkCovidError):
    """The request was wrong: a recipe, an option or a path (exit code 2)."""

    exit_code = 2


class DataError(DarkCovidError):
    """Data is missing or damaged (exit code 3)."""

    exit_code = 3
