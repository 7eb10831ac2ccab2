"""fastai learners of chest radiographs: networks, losses and optimizers as a recipe's arms have them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from fastai.callback.progress import ProgressCallback
from fastai.learner import Learner, Recorder
from fastai.metrics import accuracy
from torch import nn

from darkcovid.core.device import predict_batches
from darkcovid.core.errors import UsageError
from darkcovid.core.safetensors_io import read_safetensors, write_safetensors
from darkcovid.models.weights import load_state_dict_strict
from darkcovid.recipe import Recipe
from darkcovid.recipe.recipe import deep_merge, validate
from darkcovid.training.classifier import ClassifierSetup, setup_classifier
from darkcovid.vision.dataloaders import CXRDataLoaders

LR_FINDER_FILE = "_tmp"  # fastai's LRFinder saves by this name, and restores what it finds as `_tmp.pth`


class CXRLearner(Learner):
    """fastai's Learner; weights are saved as safetensors, never pickled, and `predict` takes an image's path.

    Attributes:
        recipe: What it was made by, as an arm of a recipe.
        normalizer: Of the network's inputs.
    """

    recipe: Recipe
    _setup: ClassifierSetup

    @property
    def normalizer(self) -> nn.Module:
        """Of the network's inputs, (b, c, h, w) in 0..1."""
        return self._setup.normalizer

    def predict(self, item: Any, **kwargs: Any) -> tuple[str, torch.Tensor, torch.Tensor]:
        """The class of an image.

        Args:
            item: A path, a PIL image or (h, w) uint8 pixels, of any size; lungs are found where the learner sees crops.
            **kwargs: None is used.

        Returns:
            As fastai's: the class, its index, and (classes,) probabilities, not calibrated.

        Raises:
            DataError: Not a readable PNG, JPEG or DICOM.
        """
        probabilities = self.predict_proba([item])[0]
        best = int(probabilities.argmax())
        return self.dls.classes[best], torch.tensor(best), probabilities

    def predict_proba(self, items: Sequence[Any]) -> torch.Tensor:
        """Probabilities of images.

        Args:
            items: As `predict` takes them.

        Returns:
            (n, classes) float32, not calibrated.

        Raises:
            DataError: One is not a readable PNG, JPEG or DICOM.
        """
        pixels = self.dls.pixels_of(items)
        was_training = self.model.training
        logits = torch.cat(list(predict_batches(self.model, pixels, self.normalizer, self.dls.compute)))
        self.model.train(was_training)
        return self._setup.objective.probabilities(logits)

    def save(self, file: str | Path, **kwargs: Any) -> Path:
        """Write the weights as `models/FILE.safetensors` below `path`, whole or not at all.

        Args:
            file: Its name, or a path with the suffix `.safetensors`.
            **kwargs: fastai's; the optimizer's state is not written.

        Returns:
            The file.
        """
        path = self._weights_path(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        about = {"model": self.recipe.model.model_dump(mode="json"), "classes": list(self.dls.classes)}
        write_safetensors(path, dict(self.model.state_dict()), about)
        return path

    def load(self, file: str | Path, **kwargs: Any) -> "CXRLearner":
        """Read weights that `save` wrote.

        Args:
            file: As in `save`.
            **kwargs: fastai's, none of which is used.

        Returns:
            The learner.

        Raises:
            DataError: Not such weights.
        """
        path = self._weights_path(file)
        tensors, _ = read_safetensors(path)
        load_state_dict_strict(self.model, tensors, str(path))
        return self

    def _weights_path(self, file: str | Path) -> Path:
        path = Path(file)
        if path.name == LR_FINDER_FILE:
            return self.path / self.model_dir / f"{path}.pth"
        return path if path.suffix == ".safetensors" else self.path / self.model_dir / f"{path}.safetensors"

    def export(self, *args: Any, **kwargs: Any) -> None:
        """Refused, since fastai's export is a pickle, which runs code when it is read.

        Args:
            *args: fastai's.
            **kwargs: fastai's.

        Raises:
            UsageError: Always.
        """
        raise UsageError("learn.export writes a pickle; use learn.save('name'), or export a run: darkcovid export RUN")

    def split_predictions(self) -> pd.DataFrame:
        """One row per image of the cohort: its path, patient, set and label, and the probability of each class."""
        cohort = self.dls.cohort
        logits = torch.cat(list(predict_batches(self.model, self.dls.pixels, self.normalizer, self.dls.compute)))
        probabilities = self._setup.objective.probabilities(logits).numpy()
        names = np.array(cohort.classes)
        sets = np.select([cohort.valid, cohort.test], ["valid", "test"], default="train")
        table = {"image": cohort.rows.path, "patient": cohort.patients.to_numpy(), "set": sets, "label": names[cohort.labels]}
        return pd.DataFrame({**table, **{f"probability_{name}": probabilities[:, at] for at, name in enumerate(cohort.classes)}})


def cxr_learner(
    dls: CXRDataLoaders,
    arch: str = "darkcovidnet",
    weights: str = "none",
    metrics: Callable | Sequence[Callable] = accuracy,
    model: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    cbs: Sequence[Any] = (),
    **learner: Any,
) -> CXRLearner:
    """A learner of any network that a recipe can name, freshly seeded.

    Args:
        dls: The images.
        arch: A name that `darkcovid models list` shows, or `timm/<name>`.
        weights: `none`, `imagenet`, or a .safetensors or .pth file.
        metrics: fastai's metrics.
        model: Further keys of a recipe's `model`, such as `{"head": "avgpool-dense", "dropout": 0.5}`.
        training: Keys of a recipe's `training` that make a learner: `optimizer`, `weight_decay`, `loss`, `freeze_backbone`,
            `mixup_alpha`, `clip_grad_norm`, `seed` ...; epochs and rates are those of the method that fits.
        cbs: Further callbacks.
        **learner: Attributes to set on the learner, such as `path` or `model_dir`.

    Returns:
        The learner; a transfer learner has two parameter groups, backbone and head.

    Raises:
        UsageError: An unknown network or key.
        DataError: Weights that do not fit.
    """
    changes = {"model": {"arch": arch, "weights": weights, **(model or {})}, "training": training or {}}
    own = dls.recipe.model_dump(mode="json")
    if arch != dls.recipe.model.arch:
        own["model"] = {}
    recipe = validate(deep_merge(own, changes), where="")
    recipe = recipe.model_copy(update={"data": dls.recipe.data})
    setup = setup_classifier(recipe, dls.cohort, dls.pixels, dls.compute, dls)
    learn = setup.learner
    learn.__class__ = CXRLearner
    learn.recipe, learn._setup = recipe, setup
    learn.add_cbs([Recorder(), ProgressCallback(), *cbs])
    learn.metrics = metrics if isinstance(metrics, (list, tuple)) else [metrics]
    for name, value in learner.items():
        setattr(learn, name, Path(value) if name == "path" else value)
    return learn


def darkcovid_learner(dls: CXRDataLoaders, **options: Any) -> CXRLearner:
    """A learner of DarkCovidNet (Ozturk et al. 2020).

    Args:
        dls: The images.
        **options: As `cxr_learner` takes them.

    Returns:
        The learner.

    Raises:
        UsageError: An unknown key.
    """
    return cxr_learner(dls, "darkcovidnet", **options)
