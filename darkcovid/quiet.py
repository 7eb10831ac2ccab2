"""Libraries' deprecation warnings are for their developers; a run's log is for the person who runs it."""

import logging
import warnings


def hush() -> None:
    """Silence warnings and torch's log chatter in this process. Errors still speak."""
    warnings.filterwarnings("ignore")
    logging.getLogger("torch").setLevel(logging.ERROR)
