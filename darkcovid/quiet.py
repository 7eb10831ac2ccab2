"""Libraries' deprecation warnings are for their developers; a run's log is for the person who runs it."""

import logging
import os
import warnings


def hush() -> None:
    """Silence warnings and torch's log chatter in this process. Errors still speak."""
    warnings.filterwarnings("ignore")
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler looks for a GPU and says so when there is none
    logging.getLogger("torch").setLevel(logging.ERROR)
