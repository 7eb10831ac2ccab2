"""darkcovid in notebooks: fastai data loaders, learners and transforms for chest radiographs, of the same pieces as recipes.

dls = CXRDataLoaders.from_manifest("manifest.csv", lungs=LungCrop(128, context=True))
learn = darkcovid_learner(dls)
learn.fit_one_cycle(15, 3e-3)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from darkcovid.vision.data_block import CXRDataBlock, CXRImage, PatientSplitter, manifest_table
    from darkcovid.vision.dataloaders import CXRDataLoaders
    from darkcovid.vision.learner import CXRLearner, cxr_learner, darkcovid_learner
    from darkcovid.vision.lung_crop import LungCrop
    from darkcovid.vision.predictor import Predictor
    from darkcovid.vision.segmenter import LungMask, Segmenter

_MODULE_OF = {
    **dict.fromkeys(["CXRDataBlock", "CXRImage", "PatientSplitter", "manifest_table"], "data_block"),
    "CXRDataLoaders": "dataloaders",
    **dict.fromkeys(["CXRLearner", "cxr_learner", "darkcovid_learner"], "learner"),
    "LungCrop": "lung_crop",
    "Predictor": "predictor",
    **dict.fromkeys(["LungMask", "Segmenter"], "segmenter"),
}

__all__ = [
    "CXRDataBlock",
    "CXRDataLoaders",
    "CXRImage",
    "CXRLearner",
    "LungCrop",
    "LungMask",
    "PatientSplitter",
    "Predictor",
    "Segmenter",
    "cxr_learner",
    "darkcovid_learner",
    "manifest_table",
]


def __getattr__(name: str) -> Any:
    """What notebooks use, imported when it is first asked for: fastai's part for vision takes seconds, and runs do without it."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'darkcovid.vision' has no attribute {name!r}")
    from darkcovid.core.warnings import ignore_known_warnings

    ignore_known_warnings()  # before fastai, torch and timm are imported, which is when they deprecate one another
    return getattr(importlib.import_module(f"darkcovid.vision.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULE_OF])
