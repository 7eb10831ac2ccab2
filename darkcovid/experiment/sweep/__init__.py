"""Many trials of one arm on inner folds of its training set, and the winner against the plain recipe on what was locked."""

from darkcovid.core.errors import DarkCovidError


def check_optuna() -> None:
    """Optuna is there, before anything that needs it is imported.

    Raises:
        DarkCovidError: It is not installed.
    """
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise DarkCovidError(f"sweep needs {error.name}; install `darkcovid[sweep]`") from None
