"""What a believable result must pass, and what its author must declare: 38 rows, each in the module of its group."""

from darkcovid.evaluation.checks import data, protocol, reporting, scoring, shortcuts  # noqa: F401 (importing registers them)
from darkcovid.evaluation.checks.listing import AUTHOR, FAIL, NOT_RUN, PASS, STATED, WARN, Check, Evidence, run_checks

__all__ = ["AUTHOR", "FAIL", "NOT_RUN", "PASS", "STATED", "WARN", "Check", "Evidence", "run_checks"]
