"""A run's folder becomes a network that can be asked: which fit of it, its weights, its recipe, its calibration."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from safetensors import SafetensorError
from torch import nn

from darkcovid.audits.feature_distance import FEATURE_DISTANCE, FeatureDistance, load_feature_distance
from darkcovid.core.errors import DataError, UsageError, one_line
from darkcovid.core.safetensors_io import read_safetensors
from darkcovid.data.enhance import Enhancement
from darkcovid.data.normalize import load_normalizer
from darkcovid.data.resize import Size
from darkcovid.evaluation.results import ArmMetrics, ClassifierFit, parse_classifier_fit
from darkcovid.models.registry import input_interpolation
from darkcovid.models.state_dict import load_state_dict_strict
from darkcovid.recipe import AUDIT, PHANTOM, Recipe, load_recipe
from darkcovid.training.classifier import build_model

NORMALIZER = "normaliser."


@dataclass(frozen=True)
class FittedModel:
    """A classifier of a finished run.

    Attributes:
        run: The run's folder.
        fit: The folder below it that the weights came from, or the name of an ensemble.
        recipe: Of the arm; of an ensemble's first.
        classes: In the order of the probabilities.
        size: (height, width) of the input in pixels.
        network: (n, c, h, w) normalized pixels to (n, outputs) logits; of an ensemble's first.
        normalizer: Of pixels in 0..1.
        temperature: By which logits are divided; those of an ensemble are the logarithms of its members' mean probabilities.
        statistic_ranges: Lowest and highest value of each image statistic on the training set.
        scores: Its `metrics.json`.
        members: The fitted classifiers of an ensemble; none of a single one.
        distance: What images are compared with to be told as unlike the training images; None in runs of earlier versions, and of
            an ensemble, whose members each have one.
        class_thresholds: Lowest probability, before calibration, with which each class is in an image's set; None in runs of
            earlier versions.
    """

    run: Path
    fit: str
    recipe: Recipe
    classes: tuple[str, ...]
    size: Size
    network: nn.Module
    normalizer: nn.Module
    temperature: float
    statistic_ranges: dict[str, tuple[float, float]]
    scores: ClassifierFit
    members: tuple["FittedModel", ...] = ()
    distance: FeatureDistance | None = None
    class_thresholds: dict[str, float] | None = None

    @property
    def networks(self) -> tuple["FittedModel", ...]:
        """The classifiers whose probabilities are averaged: the members, or this one alone."""
        return self.members or (self,)

    @property
    def of_phantoms(self) -> bool:
        """Whether it was trained on drawn radiographs, so that what it says of real ones means nothing."""
        return any(each.recipe.data.manifest == PHANTOM for each in self.networks)

    def training_images(self) -> frozenset[str]:
        """SHA-256 of the files in the training set, of an ensemble in any member's; empty where the run's split is gone."""
        return frozenset().union(*(_trained_on(each.run / each.fit) for each in self.networks))

    def held_out_sources(self) -> tuple[str, ...]:
        """Sources that no network of the model saw, where the recipe held them out in turn; empty otherwise."""
        if self.recipe.data.split.method != "leave_source_out":
            return ()
        unseen = [_tested_on(each.run / each.fit) for each in self.networks]
        return tuple(sorted(set.intersection(*unseen)))

    def sees_as(self, other: "FittedModel") -> bool:
        """Whether both get the same pixels of an image."""
        ours, theirs = self.recipe, other.recipe
        return (self.size, ours.lungs, *_pixel_policy(ours)) == (other.size, theirs.lungs, *_pixel_policy(theirs))


def _tested_on(fit: Path) -> set[str]:
    """Sources of a fit's test set; none where its predictions are gone or do not say."""
    try:
        table = pd.read_csv(fit / "predictions.csv", usecols=["side", "source"], dtype=str, keep_default_na=False)
    except (OSError, ValueError):
        return set()
    return set(table.source[table.side == "test"]) - {""}


def _pixel_policy(recipe: Recipe) -> tuple[Any, ...]:
    data = recipe.data
    return data.letterbox, data.downsample_to, data.border_only, Enhancement.of(data), input_interpolation(recipe)


def load_fitted(folder: Path, arm: str | None = None) -> FittedModel:
    """The classifier of a run.

    Args:
        folder: The run's, an arm's or a fit's.
        arm: Its name; None: of several arms the one with the best balanced accuracy on its validation set, audits left out.
            Of several fits the first is taken, of an ensemble all of them.

    Returns:
        The classifier.

    Raises:
        UsageError: Not a run, no such arm, or not a classifier.
        DataError: Its weights are missing or damaged.
    """
    run = next((path for path in (folder, *folder.absolute().parents) if _is_run(path)), None)
    if run is None:
        inside = sorted(path for path in folder.iterdir() if _is_run(path)) if folder.is_dir() else []
        hint = f"it holds {', '.join(path.name for path in inside[-3:])}" if inside else "name one that `darkcovid run` made"
        raise UsageError(f"{folder}: not a run folder; {hint}")
    recipe = load_recipe(run / "recipe.yaml", [])
    if recipe.task != "classification":
        raise UsageError(f"{folder}: a run of lung segmenters; `darkcovid lungs segment --weights` uses them")
    below = [] if folder == run else list(folder.absolute().relative_to(run.absolute()).parts)
    arms = recipe.arm_recipes()
    own_arms = [name for name in arms if not name.startswith(AUDIT)]
    chosen = below[0] if below else arm or _best_arm(run, [*own_arms, *recipe.ensemble])
    if chosen in recipe.ensemble:
        return _load_ensemble(run, chosen, {member: arms[member] for member in recipe.ensemble[chosen]})
    if chosen not in arms:
        raise UsageError(f"--arm {chosen}: the run has no such arm; it has: {', '.join([*arms, *recipe.ensemble])}")
    fits = sorted(path.parent for path in run.joinpath(chosen, *below[1:]).glob("**/weights.safetensors"))
    if not fits:
        raise UsageError(f"{run / chosen}: no finished fit in it; finish it with `darkcovid run --resume`")
    model, pooled = _load(run, fits[0], arms[chosen]), run / chosen / "metrics.json"
    if arms[chosen].data.split.method == "leave_source_out" and pooled.is_file():
        return replace(model, class_thresholds=class_thresholds(_read_scores(pooled).metrics))
    return model


def class_thresholds(metrics: ArmMetrics) -> dict[str, float] | None:
    """The lowest probability with which each class is in a new image's set.

    Args:
        metrics: Of a fit, or of all fits of an arm.

    Returns:
        Those for new sources where several were held out in turn, else those of the validation set; None where there are none.
    """
    scored = metrics.test if metrics.test is not None and len(metrics.sources) > 1 else metrics.valid
    return None if scored.conformal is None else scored.conformal.thresholds


def _read_scores(path: Path) -> ClassifierFit:
    try:
        return parse_classifier_fit(json.loads(path.read_text()))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not an arm's metrics ({one_line(error)[:150]}); run its recipe again") from None


def _is_run(path: Path) -> bool:
    return all((path / name).is_file() for name in ("recipe.yaml", "environment.json"))


def _best_arm(run: Path, arms: list[str]) -> str:
    scores = {arm: _balanced_accuracy(run / arm) for arm in arms}
    return max(scores, key=lambda arm: scores[arm])


def _balanced_accuracy(folder: Path) -> float:
    try:
        return float(json.loads((folder / "metrics.json").read_text())["balanced_accuracy"])
    except (OSError, ValueError, KeyError, TypeError):
        return -1.0


def _load_ensemble(run: Path, name: str, arms: dict[str, Recipe]) -> FittedModel:
    """All fits of all arms of an ensemble.

    Raises:
        UsageError: A fit is not finished, or arms find lungs with different weights.
        DataError: Weights are missing or damaged.
    """
    members = [_load(run, fit.folder(run / arm), recipe) for arm, recipe in arms.items() for fit in recipe.fits()]
    if len({recipe.lungs.weights for recipe in arms.values() if recipe.lungs is not None}) > 1:
        raise UsageError(f"{run / name}: its arms find lungs with different weights; name one of the arms")
    scores = _read_scores(run / name / "metrics.json")
    temperature = scores.metrics.valid.calibration.temperature
    return replace(
        members[0],
        fit=name,
        temperature=temperature,
        scores=scores,
        members=tuple(members),
        distance=None,
        class_thresholds=class_thresholds(scores.metrics),
    )


def _load(run: Path, folder: Path, recipe: Recipe) -> FittedModel:
    path = folder / "weights.safetensors"
    try:
        scores = parse_classifier_fit(json.loads((folder / "metrics.json").read_text()))
        tensors, about = read_safetensors(path)
        classes, size = tuple(about["classes"]), (int(about["image_size"][0]), int(about["image_size"][1]))
        without_weights = recipe.model_copy(update={"model": recipe.model.model_copy(update={"weights": "none"})})
        network = build_model(without_weights, len(classes), size)
        load_state_dict_strict(
            network, {name: value for name, value in tensors.items() if not name.startswith(NORMALIZER)}, str(path)
        )
        own = {name.removeprefix(NORMALIZER): value for name, value in tensors.items() if name.startswith(NORMALIZER)}
        normalizer = load_normalizer(about["normaliser"]["kind"], own)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{path}: not a fitted classifier's weights ({one_line(error)[:150]}); run its recipe again") from None
    ranges = {name: (float(low), float(high)) for name, (low, high) in about.get("usual", {}).items()}
    network.eval().requires_grad_(False)
    return FittedModel(
        run=run,
        fit=folder.relative_to(run).as_posix(),
        recipe=recipe,
        classes=classes,
        size=size,
        network=network,
        normalizer=normalizer,
        temperature=scores.metrics.valid.calibration.temperature,
        statistic_ranges=ranges,
        scores=scores,
        distance=_load_distance(folder / FEATURE_DISTANCE),
        class_thresholds=class_thresholds(scores.metrics),
    )


def _trained_on(fit: Path) -> set[str]:
    """SHA-256 of a fit's training images, but for those that were left out."""
    split, predictions = fit / "split.csv", fit / "predictions.csv"
    if not split.is_file() or not predictions.is_file():
        return set()
    listed, predicted = (pd.read_csv(file, dtype=str, keep_default_na=False) for file in (split, predictions))
    if not {"side", "sha256", "image"} <= set(listed):
        return set()
    trained = listed.image.isin(set(predicted.image[predicted.side == "train"])) & (listed.side == "train")
    return set(listed.sha256[trained])


def _load_distance(path: Path) -> FeatureDistance | None:
    if not path.is_file():
        return None
    try:
        return load_feature_distance(path)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: damaged ({one_line(error)[:150]}); run its recipe again") from None
