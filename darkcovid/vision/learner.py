"""fastai learners of chest radiographs: networks, losses and optimizers as a recipe's arms have them."""

import random
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import fastai.callback.schedule  # noqa: F401 (fit_one_cycle, fine_tune, lr_find)
import numpy as np
import pandas as pd
import torch
from fastai.callback.progress import ProgressCallback
from fastai.data.core import DataLoaders
from fastai.learner import Learner, Recorder
from fastai.losses import CrossEntropyLossFlat
from fastai.metrics import accuracy
from fastcore.meta import delegates
from torch import nn

from darkcovid.core.array_cache import StoredArray
from darkcovid.core.device import Device
from darkcovid.core.errors import DataError, UsageError
from darkcovid.core.safetensors_io import read_safetensors, write_safetensors
from darkcovid.core.slow_progress import slow_step
from darkcovid.data.cohort import Cohort
from darkcovid.data.loaders import feature_loaders, restart_loaders, source_weights
from darkcovid.data.splits import source_codes
from darkcovid.lungs.crop import LungRegions
from darkcovid.metrics.classification import probability_columns
from darkcovid.models import create_model
from darkcovid.models.state_dict import load_state_dict_strict
from darkcovid.models.transfer import TransferClassifier
from darkcovid.models.weights import initial_weights
from darkcovid.recipe import Augmentation, Model, Recipe
from darkcovid.recipe.errors import validate_section
from darkcovid.recipe.recipe import deep_merge, validate
from darkcovid.training.batch_norm import reestimate_batch_norm
from darkcovid.training.classifier import FittedClassifier, build_model, predict_proba, validation_metric
from darkcovid.training.feature_cache import can_cache_features, extract_features
from darkcovid.training.fit import FitOptions, FitResult, backbone_head_splitter, create_learner, fit, seed_everything
from darkcovid.training.group_losses import GroupLoss
from darkcovid.training.loss import ClassificationTask, make_task
from darkcovid.training.lung_consistency import LungConsistency
from darkcovid.training.probe import fit_probe
from darkcovid.training.test_time_augmentation import average_views
from darkcovid.vision.arguments import LEARNER, keys_as_arguments
from darkcovid.vision.dataloaders import CXRDataLoaders

SHOWN = (Recorder, ProgressCallback)  # what a notebook shows, which reads the device once per batch
OPTIONS = ("path", "model_dir", "lr", "moms", "loss_func", "opt_func")
LR_FINDER_FILE = "_tmp"  # fastai's LRFinder saves by this name, and restores what it finds as `_tmp.pth`


class CXRLearner(Learner):
    """fastai's Learner; weights are saved as safetensors, never pickled, and `predict` takes an image's path.

    Attributes:
        recipe: What it was made by, as an arm of a recipe.
        normalizer: Of the network's inputs, (b, c, h, w) in 0..1.
        objective: Loss, and how outputs become probabilities.
        own_callbacks: Kinds of callbacks that it was made with.
    """

    recipe: Recipe
    normalizer: nn.Module
    objective: ClassificationTask
    own_callbacks: set[type]

    def fit_recipe(self, options: FitOptions = FitOptions()) -> FittedClassifier:
        """Train as the recipe's `training` section says: this is what `darkcovid run` does for each fit of an arm.

        `training.checkpoint` and `ema_decay` decide whose weights are kept.

        Args:
            options: Checkpoint, resuming and callbacks.

        Returns:
            The fit, and the probabilities of every image of the cohort.

        Raises:
            UsageError, DataError, DarkCovidError: As `training.fit.fit` does.
        """
        recipe, dls = self.recipe, self.dls
        if recipe.model.is_probe:
            fitted, plain = self._fit_probe(options)
        else:
            fitted, plain = self._fit_epochs(options), None
        if not dls.compute.distributed.is_main:
            return FittedClassifier(fitted, self.normalizer, np.empty((0, len(dls.classes)), np.float32), self.probabilities)
        averaged = None
        with slow_step(f"predicting {len(dls.cohort)} images"):
            plain = self.probabilities(dls.pixels) if plain is None else plain
            if recipe.training.tta_views:
                views, below = recipe.training.tta_views, recipe.training.tta_below
                averaged = average_views(plain, self.probabilities, dls.pixels, recipe.data.augmentation, views, below)
        return FittedClassifier(fitted, self.normalizer, plain, self.probabilities, averaged)

    def fit(self, *args: Any, **kwargs: Any) -> None:
        """fastai's, which `fit_one_cycle` and `fine_tune` come to.

        Args:
            *args: fastai's.
            **kwargs: fastai's.

        Raises:
            UsageError: The head is a probe.
        """
        if self.recipe.model.is_probe:
            raise UsageError(f"{self.recipe.model.head}: a probe is fitted at once, without epochs; use learn.fit_recipe()")
        super().fit(*args, **kwargs)

    def _fit_epochs(self, options: FitOptions) -> FitResult:
        recipe, dls = self.recipe, self.dls
        with self.removed_cbs([callback for callback in self.cbs if isinstance(callback, SHOWN)]):
            fitted = fit(
                self.trained_part(),
                recipe.training,
                dls.compute,
                metric="accuracy",
                score=self.objective.correct,
                monitored=validation_metric(self.objective, dls.classes, recipe.training.monitor),
                image_paths=dls.cohort.rows.path.tolist(),
                options=options,
            )
        return replace(fitted, learner=self)

    def _fit_probe(self, options: FitOptions) -> tuple[FitResult, np.ndarray]:
        dls, objective, weights = self.dls, self.objective, _image_weights(self.recipe, self.dls.cohort)
        history, cost, predicted = fit_probe(
            self.model, dls.pixels, self.normalizer, dls.cohort, dls.compute, objective.probabilities, weights, options
        )
        return FitResult(self, history, cost), predicted

    def trained_part(self) -> Learner:
        """What has to be trained: the learner itself, or, where the backbone is frozen and sees the same pixels in every epoch,
        a learner of the head on the backbone's features, which are computed once."""
        recipe, network, dls = self.recipe, self.model, self.dls
        if {type(callback) for callback in self.cbs} - self.own_callbacks:
            return self  # a callback that was added is meant to see the whole network
        if not isinstance(network, TransferClassifier) or not can_cache_features(
            recipe, network, len(dls.cohort), dls.size, dls.compute
        ):
            return self
        features = extract_features(network.body, dls.pixels, self.normalizer, dls.compute)
        random.seed(recipe.training.seed)  # the order of images is that of loaders that were made first
        data = recipe.data
        sources = source_codes(dls.cohort.rows, data.split) if data.oversample == "sources" else None
        loaders = feature_loaders(dls.cohort, features, recipe.training.batch_size, dls.compute, data.oversample is True, sources)
        head = create_learner(loaders, network.head, self.objective.loss, dls.compute, recipe.training)
        head.add_cbs(_group_losses(recipe, dls.cohort))
        return head

    def probabilities(self, pixels: StoredArray, view: Augmentation | None = None) -> np.ndarray:
        """Probabilities of images in the form of the learner's own.

        Args:
            pixels: (n, h, w) or (n, c, h, w) uint8, as `dls.pixels` and `dls.pixels_of` have them.
            view: An augmentation that is drawn for each image first; None: the plain image.

        Returns:
            (n, classes) float32, rows sum to 1, not calibrated.
        """
        was_training = self.model.training
        probabilities = predict_proba(self.model, pixels, self.normalizer, self.objective, self.dls.compute, view)
        self.model.train(was_training)
        return probabilities

    def predict(self, item: Any, **kwargs: Any) -> tuple[str, torch.Tensor, torch.Tensor]:
        """The class of an image.

        Args:
            item: A path, a PIL image or (h, w) uint8 pixels, of any size; lungs are found where the learner sees crops.
            **kwargs: None is used.

        Returns:
            As fastai's: the class, its index, and (classes,) probabilities, not calibrated.

        Raises:
            DataError: Not a readable PNG, JPEG or DICOM.
            UsageError: Several images, or no image.
        """
        if isinstance(item, (list, tuple, pd.Series)):
            raise UsageError("learn.predict: one image; of several, learn.predict_proba(items)")
        probabilities = torch.from_numpy(self.predict_proba([item])[0])
        best = int(probabilities.argmax())
        return self.dls.classes[best], torch.tensor(best), probabilities

    def predict_proba(self, items: Sequence[Any]) -> np.ndarray:
        """Probabilities of images.

        Args:
            items: As `predict` takes them.

        Returns:
            (n, classes) float32, not calibrated.

        Raises:
            DataError: One is not a readable PNG, JPEG or DICOM.
        """
        return self.probabilities(self.dls.pixels_of(items))

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
        about = {
            "model": self.recipe.model.model_dump(mode="json"),
            "classes": list(self.dls.classes),
            "image_size": list(self.dls.size),
        }
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
            DataError: Not such weights, or of other classes.
        """
        path = self._weights_path(file)
        if not path.is_file():
            raise DataError(f"{path}: no such file; learn.save writes it, and weights= of cxr_learner reads a .pth file")
        tensors, about = read_safetensors(path)
        classes = (about or {}).get("classes", list(self.dls.classes))
        if classes != list(self.dls.classes):
            raise DataError(f"{path}: of the classes {', '.join(classes)}, and these loaders have {', '.join(self.dls.classes)}")
        size = (about or {}).get("image_size", list(self.dls.size))
        try:
            load_state_dict_strict(self.model, tensors, str(path))
        except DataError as error:
            fitted, own = ("x".join(map(str, pixels)) for pixels in (size, self.dls.size))
            sizes = "" if fitted == own else f"; it was fitted to {fitted} px, and these loaders have {own} px"
            raise DataError(f"{error}{sizes}") from None
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
        probabilities = self.probabilities(self.dls.pixels)
        names = np.array(cohort.classes)
        sets = np.select([cohort.valid, cohort.test], ["valid", "test"], default="train")
        table = {"image": cohort.rows.path, "patient": cohort.patients.to_numpy(), "set": sets, "label": names[cohort.labels]}
        return pd.DataFrame(table).join(pd.DataFrame(probabilities, columns=probability_columns(cohort.classes)))


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
        dls: The images; or the loaders of any DataBlock, such as a `CXRDataBlock`, which get fastai's own Learner, trained by
            cross entropy.
        arch: A name that `darkcovid models list` shows, or `timm/<name>`.
        weights: `none`, `imagenet`, or a .safetensors or .pth file.
        metrics: fastai's metrics.
        model: Further keys of a recipe's `model`, such as `{"head": "avgpool-dense", "dropout": 0.5}`.
        training: Keys of a recipe's `training` that make a learner: `optimizer`, `weight_decay`, `loss`, `freeze_backbone`,
            `mixup_alpha`, `clip_grad_norm`, `seed` ...; epochs and rates are those of the method that fits.
        cbs: Further callbacks.
        **learner: Of fastai's Learner: `path`, `model_dir`, `lr`, `moms`, `loss_func`, `opt_func`.

    Returns:
        The learner; a transfer learner has two parameter groups, backbone and head.

    Raises:
        UsageError: An unknown network or key, or `training` for a DataBlock's loaders.
        DataError: Weights that do not fit.
    """
    import fastai.vision.learner  # noqa: F401 (show_results and plot_top_losses of images, which runs do without)

    arch = getattr(arch, "__name__", arch)  # fastai names networks by torchvision's functions
    _check_options(learner, metrics)
    if not isinstance(dls, CXRDataLoaders):
        section = validate_section(Model, {"arch": arch, "weights": weights, **(model or {})}, "cxr_learner")
        return _plain_learner(dls, section, metrics, cbs, training, learner)
    changes = {"model": {"arch": arch, "weights": weights, **(model or {})}, "training": training or {}}
    own = dls.recipe.model_dump(mode="json")
    if arch != dls.recipe.model.arch:
        own["model"] = {}
    if dls.recipe.data.normalize == "pretrained" and arch != dls.recipe.model.arch:
        theirs = dls.recipe.model.arch
        raise UsageError(f"arch: the loaders have the ImageNet input of {theirs} (normalize=pretrained); make them for {arch}")
    with keys_as_arguments(LEARNER):
        recipe = validate(deep_merge(own, changes), where="")
        learn = recipe_learner(dls, recipe.model_copy(update={"data": dls.recipe.data}))
    learn.add_cbs([Recorder(), ProgressCallback(), *cbs])
    learn.metrics = metrics if isinstance(metrics, (list, tuple)) else [metrics]
    for name, value in learner.items():
        setattr(learn, name, Path(value) if name == "path" else value)
    return learn


def _check_options(learner: dict[str, Any], metrics: Any) -> None:
    """Refuse what would else be ignored in silence."""
    for name in learner:
        if name in ("pretrained", "normalize"):
            raise UsageError(f'{name}: say weights="imagenet", or weights="none"; data.normalize is the loaders\'')
        if name not in OPTIONS:
            raise UsageError(f"{name}: not an argument of a learner; there are: {', '.join(OPTIONS)}, model= and training=")
    if isinstance(metrics, str):
        raise UsageError(f"metrics: fastai's functions, such as fastai.metrics.accuracy, not the text {metrics!r}")


def _plain_learner(
    dls: DataLoaders, model: Model, metrics: Any, cbs: Sequence[Any], training: dict[str, Any] | None, options: dict[str, Any]
) -> Learner:
    """fastai's Learner of a network, for the loaders of any DataBlock."""
    if training:
        raise UsageError("cxr_learner: training= is for CXRDataLoaders; give a DataBlock's learner fastai's own arguments")
    inputs = dls.one_batch()[0]
    network = create_model(model, len(dls.vocab), tuple(inputs.shape[-2:]), inputs.shape[1])
    began = initial_weights(network)
    if began is not None and began.batch_norm == "missing":
        warnings.warn(
            f"{began.source} has no statistics of BatchNorm, which begin as 0 and 1; CXRDataLoaders have them measured on the "
            "training images",
            UserWarning,
            stacklevel=3,
        )
    kept = {"loss_func": CrossEntropyLossFlat(), "splitter": backbone_head_splitter} | options
    return Learner(dls, network, metrics=metrics, cbs=list(cbs), **kept)


def recipe_learner(dls: CXRDataLoaders, recipe: Recipe | None = None) -> CXRLearner:
    """The learner that a recipe's arm is fitted with, freshly seeded, without anything that is shown while it learns.

    Args:
        dls: The images; their order and augmentations are drawn anew.
        recipe: Of one fit of the arm; None: the one by which the loaders were made.

    Returns:
        The learner.

    Raises:
        UsageError, DataError: As `build_model` does.
    """
    recipe = dls.recipe if recipe is None else recipe
    cohort, compute, training = dls.cohort, dls.compute, recipe.training
    seed_everything(training.seed)
    normalizer = dls.fit_normalizer(recipe)
    labels = cohort.labels[cohort.train]
    objective = make_task(recipe.model.activation, training.loss, labels, len(cohort.classes), compute.device)
    network = build_model(recipe, len(cohort.classes), dls.size)
    _reestimate_batch_norm(dls, recipe, network, normalizer)
    restart_loaders(dls, normalizer, compute.device)
    if not compute.distributed.is_main:
        torch.manual_seed(training.seed + compute.distributed.rank)  # or every process would draw the same augmentations
    learn = create_learner(dls, network, objective.loss, compute, training, CXRLearner)
    learn.recipe, learn.normalizer, learn.objective = recipe, normalizer, objective
    learn.add_cbs([*_group_losses(recipe, cohort), *_lung_consistency(dls, recipe)])
    learn.own_callbacks = {type(callback) for callback in learn.cbs} | set(SHOWN)
    return learn


def _group_losses(recipe: Recipe, cohort: Cohort) -> list[GroupLoss]:
    """The loss that knows each image's source, where the recipe asks for it."""
    loss = recipe.training.loss
    if loss.groups == "none":
        return []
    sources = source_codes(cohort.rows, recipe.data.split)
    return [GroupLoss(sources * len(cohort.classes) + cohort.labels, cohort.train, loss)]


def _lung_consistency(dls: CXRDataLoaders, recipe: Recipe) -> list[LungConsistency]:
    """The penalty of predictions that depend on what is outside the lungs, where the recipe asks for it."""
    weight = recipe.training.lung_consistency
    if weight is None:
        return []
    if dls.train.kept is None:
        raise UsageError("training.lung_consistency: the loaders do not know the lungs; make them by a recipe that has it")
    return [LungConsistency(weight)]


def _reestimate_batch_norm(dls: CXRDataLoaders, recipe: Recipe, network: nn.Module, normalizer: nn.Module) -> None:
    """Measure BatchNorm's statistics on the training images where the recipe asks for it, or the initial weights had none."""
    began = initial_weights(network)
    missing = began is not None and began.batch_norm == "missing"
    if missing or recipe.training.batch_norm == "reestimated":
        rows = np.flatnonzero(dls.cohort.train)
        reestimate_batch_norm(network.get_submodule("body"), dls.pixels, rows, normalizer, dls.compute)
        if began is not None:
            network.initial_weights = began.reestimated()  # pyright: ignore[reportArgumentType] (no tensor)


def classifier_learner(
    recipe: Recipe, cohort: Cohort, pixels: StoredArray, compute: Device, lungs: LungRegions | None = None
) -> CXRLearner:
    """The learner of one fit of an arm, from its images.

    Args:
        recipe: Of the fit.
        cohort: Its training and validation sets and labels.
        pixels: (n, h, w) or (n, c, h, w) uint8 in the cohort's order.
        compute: Device and precision.
        lungs: Where they are in the pixels, for `training.lung_consistency`.

    Returns:
        The learner.

    Raises:
        UsageError, DataError: As `build_model` does.
    """
    return recipe_learner(CXRDataLoaders.from_pixels(recipe, cohort, pixels, compute, lungs))


@delegates(cxr_learner, but=["arch"])
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


def _image_weights(recipe: Recipe, cohort: Cohort) -> np.ndarray | None:
    """(n,) how much each image counts for a probe, which draws none more often than others; None: all the same."""
    if recipe.data.oversample == "sources":
        return source_weights(cohort.labels, source_codes(cohort.rows, recipe.data.split), cohort.train)
    if recipe.data.oversample or recipe.training.loss.class_weights == "balanced":
        return source_weights(cohort.labels, np.zeros_like(cohort.labels), cohort.train)
    return None
