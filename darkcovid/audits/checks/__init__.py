"""What a believable result must pass, and what its author must declare: 38 rows, each in the module of its group."""

from darkcovid.audits.checks import (
    data,  # noqa: F401 (importing registers them)
    protocol,  # noqa: F401 (importing registers them)
    shortcuts,  # noqa: F401 (importing registers them)
)
from darkcovid.audits.checks import evaluation as scoring  # noqa: F401 (importing registers them)
from darkcovid.audits.checks import transparency as reporting  # noqa: F401 (importing registers them)
from darkcovid.audits.checks.registry import AUTHOR, FAIL, NOT_RUN, PASS, STATED, WARN, CheckResult, RunEvidence, run_checks

__all__ = ["AUTHOR", "FAIL", "NOT_RUN", "PASS", "STATED", "WARN", "CheckResult", "RunEvidence", "run_checks"]
