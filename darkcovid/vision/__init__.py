"""darkcovid in notebooks: fastai data loaders, learners and transforms for chest radiographs, of the same pieces as recipes.

dls = CXRDataLoaders.from_manifest("manifest.csv", lungs=LungCrop(128, context=True))
learn = darkcovid_learner(dls)
learn.fit_one_cycle(15, 3e-3)
"""

from darkcovid.vision.dataloaders import CXRDataLoaders
from darkcovid.vision.learner import CXRLearner, cxr_learner, darkcovid_learner
from darkcovid.vision.lung_crop import LungCrop

__all__ = ["CXRDataLoaders", "CXRLearner", "LungCrop", "cxr_learner", "darkcovid_learner"]
