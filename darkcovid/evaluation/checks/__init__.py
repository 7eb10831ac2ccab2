"""What a believable result must pass: 38 checks, each in the module of its group."""

from darkcovid.evaluation.checks import data, protocol, reporting, scoring, shortcuts  # noqa: F401 (importing registers them)
from darkcovid.evaluation.checks.listing import AUTHOR, FAIL, NOT_RUN, PASS, WARN, Check, Evidence, run_checks

__all__ = ["AUTHOR", "FAIL", "NOT_RUN", "PASS", "WARN", "Check", "Evidence", "run_checks"]
