"""darkcovid: rapid, honest experiments on covid chest radiographs. Research software, never a diagnosis.

import darkcovid as dc
dls = dc.CXRDataLoaders.from_folder("my_xrays")
run = dc.run("segmented", manifest="manifest.csv")
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_VISION = ("CXRDataBlock", "CXRDataLoaders", "CXRLearner", "LungCrop", "LungMask", "Predictor", "Segmenter", "cxr_learner")
_MODULE_OF = {
    **dict.fromkeys([*_VISION, "darkcovid_learner"], "darkcovid.vision"),
    **dict.fromkeys(["run", "sweep"], "darkcovid.experiment.notebook"),
    "AuditReport": "darkcovid.experiment.audit_report",
    "DataAuditReport": "darkcovid.experiment.audit_report",
    "audit": "darkcovid.experiment.audit_report",
    "audit_data": "darkcovid.experiment.audit_report",
    **dict.fromkeys(["ComparisonTable", "Run", "compare", "open_run"], "darkcovid.experiment.finished_run"),
}


def __getattr__(name: str) -> Any:
    """What notebooks use, imported when it is first asked for, since torch takes seconds."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'darkcovid' has no attribute {name!r}")
    from darkcovid.core.warnings import ignore_known_warnings

    ignore_known_warnings()  # before torch and fastai are imported, which is when they deprecate one another
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULE_OF])
