"""Pictures go in as they come, and what the network makes of them comes out: probabilities, warnings, and where it looked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from darkcovid.audits.baselines import image_statistics
from darkcovid.audits.explanations import agreement_warnings, explanation_maps
from darkcovid.audits.feature_distance import collect_features
from darkcovid.audits.gradcam import grad_cam
from darkcovid.core.device import Device, get_device, predict_batches
from darkcovid.core.errors import UsageError
from darkcovid.core.slow_progress import slow_step
from darkcovid.core.threads import map_in_threads
from darkcovid.data.enhance import Enhancement
from darkcovid.data.resize import Size, resize, resize_whole
from darkcovid.inference.explanations import Explanations, explanations_over_images
from darkcovid.inference.load import FittedModel, load_fitted
from darkcovid.lungs.crop import CropTransform, LungCropTransform, whole_image_transform
from darkcovid.lungs.segment import CleanedMask, LungMasks, segment_lungs
from darkcovid.lungs.unet import INPUT_SIZE, LungUNet, load_segmenter
from darkcovid.metrics.calibration import apply_temperature
from darkcovid.metrics.conformal import NOT_SURE, UNLIKE, conformal_sets
from darkcovid.models.registry import input_interpolation
from darkcovid.recipe import Recipe
from darkcovid.training.loss import class_probabilities

LEEWAY = 0.25  # of the training set's range, on both sides
OF_PHANTOMS = "the network was trained on phantoms, drawn images: what it says of a radiograph means nothing"
TRAINED_ON = "in the training set: the prediction says nothing of other images"
WORDS = {"mean": "brightness", "std": "contrast", "border": "brightness of the border"}


@dataclass(frozen=True)
class Prediction:
    """Of one image.

    Attributes:
        label: The most probable class.
        probabilities: Calibrated, by class.
        answer: The label, where the set has it alone; else `not sure`, or `not like the training images` by the network's
            features or, of a network that sees lungs, by a rejected lung mask.
        class_set: Classes of which one is right for 90 % of images like the validation set's (conformal prediction); empty in
            runs of earlier versions.
        ood_score: Distance from the training images, above 1 unlike them; None in runs of earlier versions.
        lungs_trusted: Whether the lung mask is accepted.
        warnings: Why the prediction may mean little: of what the network was trained on, and how the image is unlike that.
        lungs: (256, 256) bool over the whole image.
        heat: Grad-CAM for the class, (height, width) float32 over the image, not negative; None where not asked for.
        explanations: How far explanations agree, and each one's map over the image; None where not asked for.
        positive: Classes whose probability reaches the threshold of the sensitivity asked for; None where none was.
    """

    label: str
    probabilities: dict[str, float]
    answer: str
    class_set: tuple[str, ...]
    ood_score: float | None
    lungs_trusted: bool
    warnings: tuple[str, ...]
    lungs: np.ndarray
    heat: np.ndarray | None = None
    positive: tuple[str, ...] | None = None
    explanations: Explanations | None = None

    def of_image(self, trained_on: bool) -> "Prediction":
        """The same, which says so where the network was trained on this very image."""
        return replace(self, warnings=(TRAINED_ON, *self.warnings)) if trained_on else self

    @property
    def gravest(self) -> tuple[str, ...]:
        """Those of its warnings after which its answer means nothing."""
        return tuple(warning for warning in self.warnings if warning in (TRAINED_ON, OF_PHANTOMS))


def network_inputs(
    images: Sequence[Image.Image], masks: Sequence[CleanedMask], recipe: Recipe, size: Size, version: str
) -> tuple[np.ndarray, CropTransform]:
    """What a network sees of images, made as in training (`cached_lung_inputs`, `cached_whole_images`).

    Args:
        images: (n) of mode L, any sizes.
        masks: (n) their lungs; used where the recipe has `lungs`.
        recipe: Of the arm.
        size: (height, width) of its input in pixels.
        version: Of the segmenter that made the masks.

    Returns:
        (n, h, w) or (n, 2, h, w) uint8, and its crop transform.
    """
    data = recipe.data
    if recipe.lungs is None:
        altered = data.letterbox, data.downsample_to, data.border_only, Enhancement.of(data), input_interpolation(recipe)
        pictures = map_in_threads(lambda image: resize_whole(image, size, *altered), images)
        return np.stack(pictures), whole_image_transform(len(images), size, data.letterbox)
    drawn = np.stack([mask.mask for mask in masks]).astype(np.uint8)
    known = LungMasks(drawn, tuple(mask.reason for mask in masks), version, seconds=0.0, fresh=True)
    view = LungCropTransform(known, recipe.lungs, size, data.letterbox, Enhancement.of(data), input_interpolation(recipe))
    return np.stack(map_in_threads(lambda pair: view.picture(*pair), list(enumerate(images)))), view.frame


@dataclass(frozen=True)
class _Seen:
    """A network, what it sees of images, and where that lies in them."""

    network: FittedModel
    pixels: np.ndarray
    frame: CropTransform


class InferencePipeline:
    """A fitted model with what it needs to see as it saw in training.

    Args:
        model: A fitted classifier.
        segmenter: The lung U-Net.
        compute: Device and precision.
        thresholds: Of classes, on probabilities before calibration; those that reach them are called positive. None: none are.
    """

    def __init__(self, model: FittedModel, segmenter: LungUNet, compute: Device, thresholds: dict[str, float] | None = None):
        self.model, self.segmenter, self.compute, self.thresholds = model, segmenter, compute, thresholds

    def __call__(
        self,
        images: Sequence[Image.Image],
        explain: bool = False,
        compare: bool = False,
        between: Callable[[], None] = lambda: None,
    ) -> list[Prediction]:
        """images: mode L, any sizes. explain: Grad-CAM of each image's most probable class; for a crop beside a thumbnail
        it is laid where the crop was. compare: occlusion, RISE and integrated gradients too, and how far they agree. between:
        called between batches of these, where the predictor may be asked about other images."""
        if not images:
            return []
        model = self.model
        masks = self._lungs(images)
        seen = self._seen(images, masks)
        raw, distances = self._outputs(seen)
        probabilities = apply_temperature(raw, model.temperature)
        best = probabilities.argmax(1)
        heats = self._heats(images, seen, best) if explain else [None] * len(images)
        warnings = self._warnings(seen[0].pixels, masks)
        explanations = self._explanations(images, seen, best, between) if compare else [None] * len(images)
        sets, sees_lungs = self._class_sets(raw), any(network.recipe.lungs is not None for network in model.networks)
        rejected = [sees_lungs and mask.reason is not None for mask in masks]
        return [
            Prediction(
                model.classes[best[row]],
                {name: float(value) for name, value in zip(model.classes, probabilities[row], strict=True)},
                _answer(model.classes[best[row]], sets[row], distances[row], rejected[row]),
                sets[row] or (),
                distances[row],
                masks[row].reason is None,
                (*warnings[row], *_doubts(explanations[row])),
                masks[row].mask,
                heats[row],
                self._positive(raw[row]),
                explanations[row],
            )
            for row in range(len(images))
        ]

    def inputs(self, images: Sequence[Image.Image]) -> np.ndarray:
        """What the first network sees of images of mode L, any sizes: (n, h, w) or (n, 2, h, w) uint8."""
        return self._seen(images, self._lungs(images))[0].pixels

    def _lungs(self, images: Sequence[Image.Image]) -> list[CleanedMask]:
        small = np.stack(map_in_threads(lambda image: resize(image, INPUT_SIZE), images))
        return list(segment_lungs(small, self.segmenter, self.compute))

    def _seen(self, images: Sequence[Image.Image], masks: Sequence[CleanedMask]) -> list["_Seen"]:
        """What each network sees of the images, made once for networks that see the same."""
        seen: list[_Seen] = []
        for network in self.model.networks:
            same = next((other for other in seen if other.network.sees_as(network)), None)
            if same is None:
                pixels, frame = network_inputs(images, masks, network.recipe, network.size, self.segmenter.version)
            else:
                pixels, frame = same.pixels, same.frame
            seen.append(_Seen(network, pixels, frame))
        return seen

    def _outputs(self, seen: Sequence["_Seen"]) -> tuple[np.ndarray, list[float | None]]:
        """(n, classes) probabilities before calibration, and each image's `ood_score`: of one network, or the mean of several."""
        probabilities, distances = [], []
        for each in seen:
            network = each.network
            with collect_features(network.network) as features:
                logits = torch.cat(list(predict_batches(network.network, each.pixels, network.normalizer, self.compute)))
            probabilities.append(class_probabilities(logits).numpy())
            if network.distance is not None:
                distances.append(network.distance.scores(features()))
        mean = np.mean(probabilities, axis=0)
        known = len(distances) == len(seen)
        return mean, np.mean(distances, axis=0).tolist() if known else [None] * len(mean)

    def _positive(self, raw: np.ndarray) -> tuple[str, ...] | None:
        if self.thresholds is None:
            return None
        named = zip(self.model.classes, raw, strict=True)
        return tuple(name for name, share in named if name in self.thresholds and share >= self.thresholds[name])

    def _class_sets(self, raw: np.ndarray) -> list[tuple[str, ...] | None]:
        """Each image's classes; None where no thresholds are known."""
        if self.model.class_thresholds is None:
            return [None] * len(raw)
        classes = np.array(self.model.classes)
        thresholds = [self.model.class_thresholds[name] for name in self.model.classes]
        return [tuple(classes[held].tolist()) for held in conformal_sets(raw, thresholds)]

    def _heats(self, images: Sequence[Image.Image], seen: Sequence["_Seen"], classes: np.ndarray) -> list[np.ndarray]:
        """Grad-CAM over each image, of several networks their mean."""
        of_networks = [
            grad_cam(each.network.network, each.network.normalizer, each.pixels, classes, self.compute) for each in seen
        ]
        return [
            np.mean(
                [each.frame.over_image(row, maps[row], image.size) for each, maps in zip(seen, of_networks, strict=True)], axis=0
            )
            for row, image in enumerate(images)
        ]

    def _explanations(
        self, images: Sequence[Image.Image], seen: Sequence["_Seen"], classes: np.ndarray, between: Callable[[], None]
    ) -> list[Explanations]:
        low, high = self.model.statistic_ranges.get("mean", (0.5, 0.5))
        gray = round(255 * (low + high) / 2)
        of_networks = [
            explanation_maps(
                each.network.network, each.network.normalizer, each.pixels, classes, gray, self.compute, between=between
            )
            for each in seen
        ]
        return explanations_over_images(of_networks, [each.frame for each in seen], [image.size for image in images])

    def _warnings(self, pixels: np.ndarray, masks: Sequence[CleanedMask]) -> list[tuple[str, ...]]:
        statistics = image_statistics(pixels if pixels.ndim == 3 else pixels[:, 0])
        always = [OF_PHANTOMS] if self.model.of_phantoms else []
        return [
            (
                *always,
                *[f"lung mask rejected: {mask.reason}"] * (mask.reason is not None),
                *self._out_of_range(statistics.iloc[row]),
            )
            for row, mask in enumerate(masks)
        ]

    def _out_of_range(self, of_image) -> list[str]:
        said = []
        for name, text in WORDS.items():
            if name in self.model.statistic_ranges:
                low, high = self.model.statistic_ranges[name]
                leeway = LEEWAY * (high - low)
                if not low - leeway <= of_image[name] <= high + leeway:
                    said.append(f"{text} {of_image[name]:.2f} is unlike the training images' {low:.2f} to {high:.2f}")
        return said


def _doubts(explanations: Explanations | None) -> list[str]:
    return [] if explanations is None else agreement_warnings(explanations.agreement)


def _answer(label: str, class_set: tuple[str, ...] | None, distance: float | None, rejected: bool) -> str:
    """What is said of an image. rejected: whether the lungs that the network is to see were not found."""
    if rejected or (distance is not None and not distance <= 1):
        return UNLIKE
    return label if class_set in (None, (label,)) else NOT_SURE


def load_pipeline(run: Path, arm: str | None = None, device: str = "auto", sensitivity: float | None = None) -> InferencePipeline:
    """The predictor of a run's arm, in the precision it was trained in.

    Args:
        run: The run's folder.
        arm: As `load_fitted` takes it.
        device: "auto", "cpu", "cuda" or "mps".
        sensitivity: By whose thresholds, chosen on the validation set, classes are called positive: 0.9 or 0.95; None: none are.

    Returns:
        The predictor.

    Raises:
        UsageError: No threshold is known for the sensitivity; and as `load_fitted` does.
        DataError: As `load_fitted` and `load_segmenter` do.
    """
    with slow_step("loading the model"):
        model = load_fitted(run, arm)
    compute = get_device(device, model.recipe.training.precision)
    lungs = next((network.recipe.lungs for network in model.networks if network.recipe.lungs is not None), None)
    thresholds = None if sensitivity is None else _thresholds(model, sensitivity)
    return InferencePipeline(model, load_segmenter(lungs.weights if lungs is not None else None), compute, thresholds)


def _thresholds(model: FittedModel, sensitivity: float) -> dict[str, float]:
    """Of each class, the threshold that reached a sensitivity on the validation set."""
    points = [(name, point) for name, found in model.scores.metrics.valid.operating_points.items() for point in found]
    known = sorted({point.wanted_sensitivity for _, point in points})
    if sensitivity not in known:
        given = " and ".join(f"{value:g}" for value in known) or "none, since the validation set has too few images"
        raise UsageError(f"--sensitivity {sensitivity:g}: thresholds are known for {given}")
    return {name: point.threshold for name, point in points if point.wanted_sensitivity == sensitivity}
