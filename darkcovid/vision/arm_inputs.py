"""What each arm of a recipe feeds its network: the input size, the pixels, and what making them cost."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from darkcovid.core.array_cache import CachedArray, StoredArray
from darkcovid.core.device import Device
from darkcovid.core.errors import DataError, UsageError
from darkcovid.data.cohort import Cohort
from darkcovid.data.enhance import Enhancement
from darkcovid.data.external import ExternalSet
from darkcovid.data.image_arrays import ImageArray, cached_image_arrays
from darkcovid.data.resize import Size, whole_image_array
from darkcovid.data.splits import source_column
from darkcovid.evaluation.results import ExternalMetrics
from darkcovid.lungs.crop import LungRegions, cached_lung_regions, crop_boxes, crop_input_size, lung_input_array
from darkcovid.lungs.segment import LungMasks, segment_cohort
from darkcovid.lungs.unet import INPUT_SIZE, LungUNet, load_segmenter
from darkcovid.models.registry import input_interpolation, input_scale, validate_model_config
from darkcovid.recipe import SAME_PIXELS, Data, Lungs, Recipe

KEY = re.compile(r"(data|model|lungs|training)\.\w")  # how the path of an arm's key begins


@dataclass(frozen=True)
class ExternalInputs:
    """An external set as an arm sees it.

    Attributes:
        of: The set.
        pixels: Its images in the form of the arm's own, (m, ..., h, w) uint8.
        rejected: (m,) bool, whether each lung mask was rejected; None without lungs.
    """

    of: ExternalSet
    pixels: StoredArray
    rejected: np.ndarray | None

    def annotate(self, metrics: ExternalMetrics) -> ExternalMetrics:
        """`metrics` of this set with its translated labels, rows left out, unreadable images and rejected masks."""
        return replace(
            metrics,
            labels=self.of.translated,
            left_out=self.of.left_out,
            bad_images=len(self.of.cohort.bad),
            untrusted_lungs=None if self.rejected is None else int(self.rejected.sum()),
        )


@dataclass(frozen=True)
class ArmInputs:
    """What one arm feeds its network, and what making it cost.

    Attributes:
        recipe: The arm's.
        pixels: (n, *size) uint8, or (n, 2, *size) with a context channel, in the cohort's order.
        lungs: Masks by which images were cropped or masked; None without lungs.
        areas: Where the lungs are in `pixels`, for the shortcut audit; None where the recipe asks for none.
        prepare_seconds: Of decoding, cropping, resizing and writing, when that was done.
        segment_seconds: Of segmenting the lungs first, when that was done; 0 without lungs.
        fresh: Whether that was done in this run, not read from the cache.
        external: The external test sets.
    """

    recipe: Recipe
    pixels: StoredArray
    lungs: LungMasks | None
    areas: LungRegions | None
    prepare_seconds: float
    segment_seconds: float
    fresh: bool
    external: tuple[ExternalInputs, ...] = ()

    @property
    def size(self) -> Size:
        """(height, width) of the input in pixels."""
        height, width = self.pixels.shape[-2:]
        return height, width


class InputBuilder:
    """Makes the inputs of a recipe's arms; lungs are segmented once for all arms that need them.

    Args:
        recipe: Of the whole run.
        cohort: The images.
        compute: Device of the segmenter.
        cache_dir: Where images, masks and inputs are kept.
        segmenter: The segmenter of given weights, None being the shipped one.
    """

    def __init__(
        self,
        recipe: Recipe,
        cohort: Cohort,
        compute: Device,
        cache_dir: Path,
        segmenter: Callable[[str | None], LungUNet] = load_segmenter,
    ):
        self.arms = recipe.arm_recipes()
        self._segmenter = segmenter
        self.cohort, self.compute, self.cache_dir = cohort, compute, cache_dir
        self.recipe = recipe
        self._lungs: dict[str | None, LungMasks] = {}
        self._arrays: dict[str, CachedArray] = {}

    def size_needs_lungs(self, arm: str) -> bool:
        """Whether the size of an arm's input depends on where lungs are."""
        recipe = self.arms[arm]
        if recipe.lungs is not None and recipe.lungs.mode not in ("mask", "outside"):
            return True
        size = recipe.data.image_size
        return isinstance(size, str) and self.size_needs_lungs(size.removeprefix(SAME_PIXELS))

    def make(self, arm: str) -> ArmInputs:
        """The inputs of one arm, from the cache where they are there.

        Raises:
            DataError: Lung weights are damaged.
        """
        recipe, size = self.arms[arm], self.size(arm)
        stored, lungs = self.pixels(recipe, size)
        return ArmInputs(
            recipe,
            stored.array,
            lungs,
            self.lung_regions(recipe, size) if recipe.locates_lungs else None,
            prepare_seconds=stored.seconds,
            segment_seconds=lungs.seconds if lungs else 0.0,
            fresh=stored.fresh or (lungs is not None and lungs.fresh),
        )

    def everything(self, arm: str, size: Size) -> list[CachedArray]:
        """What an arm needs, made where it is missing: its pixels, and where the lungs are in them when they are audited.

        Args:
            arm: The arm's name.
            size: (height, width) of its input in pixels.

        Returns:
            The arrays in the cache.
        """
        recipe = self.arms[arm]
        regions = [self._stored_regions(recipe, size)] if recipe.locates_lungs else []
        return [self.pixels(recipe, size)[0], *regions]

    def of(self, cohort: Cohort) -> "InputBuilder":
        """A builder of the same inputs of other images."""
        return InputBuilder(self.recipe, cohort, self.compute, self.cache_dir)

    def pixels(self, recipe: Recipe, size: Size) -> tuple[CachedArray, LungMasks | None]:
        """The cohort's images as an arm of this recipe sees them.

        Args:
            recipe: The arm's.
            size: (height, width) of its input in pixels.

        Returns:
            (n, *size) or (n, 2, *size) uint8 in the cache, and the lung masks by which they were made, None without lungs.
        """
        masks = None if recipe.lungs is None else self.lungs(recipe.lungs)
        return self._stored([self._wanted(recipe, size)])[0], masks

    def decode_together(self, seen: Sequence[tuple[Recipe, Size]], also: Sequence[Size] = ()) -> bool:
        """Make the pixels of several arms with one decoding of each image, or, where no lungs were looked for yet, with two: one
        for whole images and one for crops.

        Args:
            seen: Arms' recipes, and the sizes of their inputs.
            also: Further sizes of whole images.

        Returns:
            Whether any had to be made.
        """
        sizes = [*also, *[INPUT_SIZE for recipe, _ in seen if recipe.lungs is not None or recipe.locates_lungs]]
        whole = [self._wanted(recipe, size) for recipe, size in seen if recipe.lungs is None]
        whole += [whole_image_array(self.cohort.sha256, size, self.cache_dir) for size in sizes]
        cropped = [(recipe, size) for recipe, size in seen if recipe.lungs is not None]
        known = all(recipe.lungs.weights in self._lungs for recipe, _ in cropped if recipe.lungs is not None)
        made = [] if known else self._stored(whole)
        made += self._stored([*whole, *[self._wanted(recipe, size) for recipe, size in cropped]])
        return any(array.fresh for array in made)

    def decode_whole(self, arms: Iterable[str], also: Sequence[Size] = ()) -> bool:
        """Make what arms need of whole images as long as no lungs are known, with one decoding of each image.

        Args:
            arms: Their names.
            also: Further sizes of whole images.

        Returns:
            Whether any had to be made.
        """
        names = list(arms)
        early = [name for name in names if self.arms[name].lungs is None and not self.size_needs_lungs(name)]
        lungs = any(self.arms[name].lungs is not None or self.arms[name].locates_lungs for name in names)
        return self.decode_together([(self.arms[name], self.size(name)) for name in early], [*also, *[INPUT_SIZE] * lungs])

    def _stored(self, wanted: Sequence[ImageArray]) -> list[CachedArray]:
        """Arrays of the cohort, those that are absent made together."""
        named = {array.key(range(len(self.cohort))): array for array in wanted}
        absent = [name for name in named if name not in self._arrays]
        self._arrays |= zip(absent, cached_image_arrays(self.cohort.files, [named[name] for name in absent]), strict=True)
        return [self._arrays[name] for name in named]

    def _wanted(self, recipe: Recipe, size: Size) -> ImageArray:
        data, interpolation = recipe.data, input_interpolation(recipe)
        if recipe.lungs is None:
            altered = data.letterbox, data.downsample_to, data.border_only, Enhancement.of(data), interpolation
            return whole_image_array(self.cohort.sha256, size, self.cache_dir, *altered)
        masks = self.lungs(recipe.lungs)
        altered = data.letterbox, Enhancement.of(data), interpolation
        return lung_input_array(self.cohort, masks, recipe.lungs, size, self.cache_dir, *altered)

    def size(self, arm: str) -> Size:
        """(height, width) in pixels of an arm's input; `same_pixels_as` another arm is that arm's size."""
        recipe = self.arms[arm]
        if recipe.lungs is None or recipe.lungs.mode in ("mask", "outside"):
            return self._image_size(recipe.data)
        masks = self.lungs(recipe.lungs)
        boxes = crop_boxes(masks, recipe.lungs.margin)
        boxes = [boxes[row] for row in np.flatnonzero(self.cohort.train & masks.trusted)]
        return crop_input_size(recipe.lungs, boxes, self._image_size(recipe.data))

    def lungs(self, lungs: Lungs) -> LungMasks:
        """The cohort's lung masks by the segmenter of `lungs.weights`."""
        if lungs.weights not in self._lungs:
            segmenter = self._segmenter(lungs.weights)
            self._lungs[lungs.weights] = segment_cohort(self.cohort, segmenter, self.compute, self.cache_dir)
        return self._lungs[lungs.weights]

    def lung_regions(self, recipe: Recipe, size: Size) -> LungRegions:
        """Where the lungs are in the images as an arm of this recipe sees them, for the shortcut audit.

        Args:
            recipe: The arm's.
            size: (height, width) of its input in pixels.

        Returns:
            The regions, and whose masks are accepted.
        """
        return LungRegions(self._stored_regions(recipe, size).array, self.lungs(recipe.lungs or Lungs()).trusted)

    def _stored_regions(self, recipe: Recipe, size: Size) -> CachedArray:
        masks, data = self.lungs(recipe.lungs or Lungs()), recipe.data
        return cached_lung_regions(self.cohort, masks, recipe.lungs, size, data.letterbox, self.cache_dir, data.fill_bars)

    def _image_size(self, data: Data) -> Size:
        if isinstance(data.image_size, str):
            return self.size(data.image_size.removeprefix(SAME_PIXELS))
        return data.image_size if isinstance(data.image_size, tuple) else (data.image_size, data.image_size)


def select_arms(recipe: Recipe, selected: Iterable[str]) -> list[str]:
    """The arms to run, in the recipe's order.

    Args:
        recipe: Of the whole run.
        selected: Names of arms; none means all.

    Returns:
        Names of arms.

    Raises:
        UsageError: The recipe has no arm of a name.
    """
    names, selected = list(recipe.arm_recipes()), list(selected)
    for name in selected:
        if name not in names:
            raise UsageError(f"--arm {name}: the recipe has no such arm; it has: {', '.join(names)}")
    return [name for name in names if name in selected] if selected else names


@contextmanager
def in_arm(recipe: Recipe, arm: str) -> Iterator[None]:
    """A context in which an error about a key of a recipe with several arms says whose: `arms.crop.model.weights: ...`.

    Args:
        recipe: Of the whole run.
        arm: The arm's name.

    Yields:
        Nothing.

    Raises:
        UsageError, DataError: What was raised inside.
    """
    try:
        yield
    except (UsageError, DataError) as error:
        if arm not in recipe.arms or not KEY.match(str(error)):
            raise
        raise type(error)(f"arms.{arm}.{error}") from error


def check_networks(recipe: Recipe, arms: Iterable[str]) -> None:
    """What can be known to be wrong with the networks of a recipe before any image is read.

    Args:
        recipe: Of the whole run.
        arms: Names of those to run.

    Raises:
        UsageError: An unknown network, a head that it does not have, or a mean of ImageNet weights that it does not have.
    """
    for name, arm in recipe.arm_recipes().items():
        if name in arms and recipe.task == "classification":
            with in_arm(recipe, name):
                validate_model_config(arm.model)
                input_scale(arm)


def check_sources(recipe: Recipe, cohort: Cohort) -> None:
    """Whether every image has a source, where an arm asks for it.

    Args:
        recipe: The arm's.
        cohort: The images.

    Raises:
        UsageError: It has none.
    """
    if recipe.data.oversample == "sources" or recipe.training.loss.groups != "none":
        source_column(cohort.rows, recipe.data.split)


def build_inputs(
    builder: InputBuilder, external: Sequence[ExternalSet], arms: Iterable[str], say: Callable[[str], None]
) -> dict[str, ArmInputs]:
    """Every arm's inputs before any arm is trained, so that what is wrong with the data is found first.

    Args:
        builder: Of the recipe's cohort.
        external: External sets.
        arms: Names of the arms.
        say: Called with a line as each arm begins.

    Returns:
        Each arm's inputs, with those of the external sets.
    """
    names, inputs = list(arms), {}
    seen = []
    for arm in names:
        with in_arm(builder.recipe, arm):
            seen.append((builder.arms[arm], builder.size(arm)))
    builders = [(each, builder.of(each.cohort)) for each in external]
    for each in (builder, *(other for _, other in builders)):
        each.decode_together(seen)
    for arm in names:
        say(f"preparing {arm}")
        with in_arm(builder.recipe, arm):
            own = builder.make(arm)
        inputs[arm] = replace(own, external=tuple(_external_inputs(each, other, own) for each, other in builders))
    return inputs


def _external_inputs(external: ExternalSet, builder: InputBuilder, own: ArmInputs) -> ExternalInputs:
    stored, lungs = builder.pixels(own.recipe, own.size)
    return ExternalInputs(external, stored.array, None if lungs is None else ~lungs.trusted)
