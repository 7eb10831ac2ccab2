"""darkcovid in notebooks: fastai data loaders, learners and transforms for chest radiographs, of the same pieces as recipes.

dls = CXRDataLoaders.from_manifest("manifest.csv", lungs=LungCrop(128, context=True))
learn = darkcovid_learner(dls)
learn.fit_one_cycle(15, 3e-3)
"""

from darkcovid.core.warnings import ignore_known_warnings

ignore_known_warnings()  # before fastai, torch and timm are imported, which is when they deprecate one another

from darkcovid.vision.data_block import CXRDataBlock, CXRImage, PatientSplitter, manifest_table
from darkcovid.vision.dataloaders import CXRDataLoaders
from darkcovid.vision.learner import CXRLearner, cxr_learner, darkcovid_learner
from darkcovid.vision.lung_crop import LungCrop
from darkcovid.vision.predictor import Predictor
from darkcovid.vision.segmenter import LungMask, Segmenter

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
