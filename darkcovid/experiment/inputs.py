"""What each arm of a recipe feeds its network: the input size, the pixels, and what making them cost."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from darkcovid.core.array_cache import CachedArray, StoredArray
from darkcovid.core.device import Device
from darkcovid.core.errors import UsageError
from darkcovid.data.cohort import Cohort
from darkcovid.data.external import ExternalSet
from darkcovid.data.resize import Size, cached_whole_images
from darkcovid.evaluation.results import ExternalMetrics
from darkcovid.lungs.crop import LungRegions, cached_lung_inputs, cached_lung_regions, crop_boxes, crop_input_size
from darkcovid.lungs.segment import LungMasks, segment_cohort
from darkcovid.lungs.unet import Segmenter, load_segmenter
from darkcovid.recipe import SAME_PIXELS, Data, Lungs, Recipe


@dataclass(frozen=True)
class ExternalInputs:
    """An external set as an arm sees it. pixels: its images in the form of the arm's own; untrusted_lungs: how many masks
    were not trusted, None without lungs."""

    of: ExternalSet
    pixels: StoredArray
    untrusted_lungs: int | None

    def annotate(self, metrics: ExternalMetrics) -> ExternalMetrics:
        """Its metrics with what they must be read with."""
        return replace(
            metrics,
            labels=self.of.translated,
            left_out=self.of.left_out,
            bad_images=len(self.of.cohort.bad),
            untrusted_lungs=self.untrusted_lungs,
        )


@dataclass(frozen=True)
class ArmInputs:
    """pixels: (n, *size) uint8, or (n, 2, *size) with a thumbnail, in the cohort's order. `prepare_seconds`: decoding,
    cropping, resizing and writing them; `segment_seconds`: finding the lungs first, 0 without lungs. Both are the price when
    it was paid; `fresh` says that it was paid in this run. `areas`: where the lungs are, for the shortcut audit. `external`:
    the external test sets."""

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
        height, width = self.pixels.shape[-2:]
        return height, width


class InputBuilder:
    """Makes the inputs of a recipe's arms; lungs are found once for all arms that need them."""

    def __init__(
        self,
        recipe: Recipe,
        cohort: Cohort,
        compute: Device,
        cache_dir: Path,
        segmenter: Callable[[str | None], Segmenter] = load_segmenter,
    ):
        self.arms = recipe.arm_recipes()
        self._segmenter = segmenter
        self.cohort, self.compute, self.cache_dir = cohort, compute, cache_dir
        self._recipe = recipe
        self._lungs: dict[str | None, LungMasks] = {}

    def make(self, arm: str) -> ArmInputs:
        """The inputs of one arm, from the cache where they are there. Raises DataError when lung weights are damaged."""
        recipe, size = self.arms[arm], self.size(arm)
        stored, found = self.pixels(recipe, size)
        return ArmInputs(
            recipe,
            stored.array,
            found,
            self._areas(recipe, size),
            prepare_seconds=stored.seconds,
            segment_seconds=found.seconds if found else 0.0,
            fresh=stored.fresh or (found is not None and found.fresh),
        )

    def everything(self, arm: str, size: Size) -> list[CachedArray]:
        """What an arm needs at `size`, made where it is missing: its pixels, and where the lungs are in them when they are
        audited."""
        recipe = self.arms[arm]
        areas = self._stored_areas(recipe, size)
        return [self.pixels(recipe, size)[0], *([] if areas is None else [areas])]

    def of(self, cohort: Cohort) -> "InputBuilder":
        """The same for other images."""
        return InputBuilder(self._recipe, cohort, self.compute, self.cache_dir)

    def pixels(self, recipe: Recipe, size: Size) -> tuple[CachedArray, LungMasks | None]:
        """The cohort's images as an arm of this recipe sees them at `size`, and the lungs that it went by."""
        data, cohort = recipe.data, self.cohort
        if recipe.lungs is None:
            altered = data.letterbox, data.downsample_to, data.border_only, data.contrast
            return cached_whole_images(cohort.files, cohort.sha256, size, self.cache_dir, *altered), None
        found = self.lungs(recipe.lungs)
        altered = data.letterbox, data.contrast
        return cached_lung_inputs(cohort, found, recipe.lungs, size, self.cache_dir, *altered), found

    def size(self, arm: str) -> Size:
        """(height, width) in pixels of an arm's input; `same_pixels_as` another arm is that arm's size."""
        recipe = self.arms[arm]
        if recipe.lungs is None or recipe.lungs.mode in ("mask", "outside"):
            return self._image_size(recipe.data)
        found = self.lungs(recipe.lungs)
        boxes = crop_boxes(found, recipe.lungs.margin)
        boxes = [boxes[row] for row in np.flatnonzero(self.cohort.train & found.trusted)]
        return crop_input_size(recipe.lungs, boxes, self._image_size(recipe.data))

    def lungs(self, lungs: Lungs) -> LungMasks:
        if lungs.weights not in self._lungs:
            segmenter = self._segmenter(lungs.weights)
            self._lungs[lungs.weights] = segment_cohort(self.cohort, segmenter, self.compute, self.cache_dir)
        return self._lungs[lungs.weights]

    def _areas(self, recipe: Recipe, size: Size) -> LungRegions | None:
        """Where the lungs are in an arm's inputs, for the shortcut audit."""
        stored = self._stored_areas(recipe, size)
        return None if stored is None else LungRegions(stored.array, self.lungs(recipe.lungs or Lungs()).trusted)

    def _stored_areas(self, recipe: Recipe, size: Size) -> CachedArray | None:
        if not recipe.judges_shortcuts:
            return None
        found = self.lungs(recipe.lungs or Lungs())
        return cached_lung_regions(self.cohort, found, recipe.lungs, size, recipe.data.letterbox, self.cache_dir)

    def _image_size(self, data: Data) -> Size:
        if isinstance(data.image_size, str):
            return self.size(data.image_size.removeprefix(SAME_PIXELS))
        return data.image_size if isinstance(data.image_size, tuple) else (data.image_size, data.image_size)


def select_arms(recipe: Recipe, wanted: Iterable[str]) -> list[str]:
    """The arms to run, in the recipe's order: all, or the `wanted` ones. Raises UsageError for an unknown name."""
    names, wanted = list(recipe.arm_recipes()), list(wanted)
    for name in wanted:
        if name not in names:
            raise UsageError(f"--arm {name}: the recipe has no such arm; it has: {', '.join(names)}")
    return [name for name in names if name in wanted] if wanted else names


def build_inputs(
    maker: InputBuilder, external: Sequence[ExternalSet], arms: Iterable[str], say: Callable[[str], None]
) -> dict[str, ArmInputs]:
    """Every arm's inputs before any arm is trained, so that what is wrong with the data is found first."""
    made, others = {}, [(one, maker.of(one.cohort)) for one in external]
    for arm in arms:
        say(f"preparing {arm}")
        own = maker.make(arm)
        made[arm] = replace(own, external=tuple(_external_inputs(one, other, own) for one, other in others))
    return made


def _external_inputs(one: ExternalSet, maker: InputBuilder, own: ArmInputs) -> ExternalInputs:
    stored, found = maker.pixels(own.recipe, own.size)
    return ExternalInputs(one, stored.array, None if found is None else int((~found.trusted).sum()))
