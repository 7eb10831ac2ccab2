"""What each arm of a recipe feeds its network: the input size, the pixels, and what making them cost."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from darkcovid.compute import Compute
from darkcovid.data.cohort import Cohort
from darkcovid.data.pixels import Size, whole_pixels
from darkcovid.errors import RequestError
from darkcovid.lungs.crop import crop_boxes, input_size, lung_areas, lung_pixels
from darkcovid.lungs.segment import LungMasks, segment_cohort
from darkcovid.lungs.unet import load_segmenter
from darkcovid.recipe import SAME_PIXELS, Data, Lungs, Recipe
from darkcovid.training.shortcuts import LungAreas


@dataclass(frozen=True)
class ArmInputs:
    """pixels: (n, *size) uint8, or (n, 2, *size) with a thumbnail, in the cohort's order. `prepare_seconds`: decoding,
    cropping, resizing and writing them; `segment_seconds`: finding the lungs first, 0 without lungs. Both are the price when
    it was paid; `fresh` says that it was paid in this run. `areas`: where the lungs are, for the shortcut audit."""

    recipe: Recipe
    pixels: np.ndarray
    lungs: LungMasks | None
    areas: LungAreas | None
    prepare_seconds: float
    segment_seconds: float
    fresh: bool

    @property
    def size(self) -> Size:
        return self.pixels.shape[-2:]


class InputMaker:
    """Makes the inputs of a recipe's arms; lungs are found once for all arms that need them."""

    def __init__(self, recipe: Recipe, cohort: Cohort, compute: Compute, cache_dir: Path):
        self.arms = recipe.arm_recipes()
        self.cohort, self.compute, self.cache_dir = cohort, compute, cache_dir
        self._lungs: dict[str | None, LungMasks] = {}

    def make(self, arm: str) -> ArmInputs:
        """The inputs of one arm, from the cache where they are there. Raises DataError when lung weights are damaged."""
        recipe, size = self.arms[arm], self.size(arm)
        if recipe.lungs is None:
            data, cohort = recipe.data, self.cohort
            stored = whole_pixels(
                cohort.files, cohort.sha256, size, self.cache_dir, data.letterbox, data.detail, data.border_only
            )
            return ArmInputs(recipe, stored.array, None, self._areas(recipe, size), stored.seconds, 0.0, stored.fresh)
        found = self.lungs(recipe.lungs)
        stored = lung_pixels(self.cohort, found, recipe.lungs, size, self.cache_dir, recipe.data.letterbox)
        fresh = stored.fresh or found.fresh
        return ArmInputs(recipe, stored.array, found, self._areas(recipe, size), stored.seconds, found.seconds, fresh)

    def size(self, arm: str) -> Size:
        """(height, width) in pixels of an arm's input; `same_pixels_as` another arm is that arm's size."""
        recipe = self.arms[arm]
        if recipe.lungs is None or recipe.lungs.mode in ("mask", "outside"):
            return self._image_size(recipe.data)
        found = self.lungs(recipe.lungs)
        boxes = crop_boxes(found, recipe.lungs.margin)
        boxes = [boxes[row] for row in np.flatnonzero(self.cohort.train & found.trusted)]
        return input_size(recipe.lungs, boxes, self._image_size(recipe.data))

    def lungs(self, lungs: Lungs) -> LungMasks:
        if lungs.weights not in self._lungs:
            segmenter = load_segmenter(lungs.weights)
            self._lungs[lungs.weights] = segment_cohort(self.cohort, segmenter, self.compute, self.cache_dir)
        return self._lungs[lungs.weights]

    def _areas(self, recipe: Recipe, size: Size) -> LungAreas | None:
        """Where the lungs are in an arm's inputs, for the shortcut audit."""
        if recipe.audit != "shortcuts":
            return None
        found = self.lungs(recipe.lungs or Lungs())
        stored = lung_areas(self.cohort, found, recipe.lungs, size, recipe.data.letterbox, self.cache_dir)
        return LungAreas(stored.array, found.trusted)

    def _image_size(self, data: Data) -> Size:
        if isinstance(data.image_size, str):
            return self.size(data.image_size.removeprefix(SAME_PIXELS))
        return data.image_size if isinstance(data.image_size, tuple) else (data.image_size, data.image_size)


def chosen_arms(recipe: Recipe, wanted: Iterable[str]) -> list[str]:
    """The arms to run, in the recipe's order: all, or the `wanted` ones. Raises RequestError for an unknown name."""
    names, wanted = list(recipe.arm_recipes()), list(wanted)
    for name in wanted:
        if name not in names:
            raise RequestError(f"--arm {name}: the recipe has no such arm; it has: {', '.join(names)}")
    return [name for name in names if name in wanted] if wanted else names


def make_inputs(maker: InputMaker, arms: Iterable[str], say: Callable[[str], None]) -> dict[str, ArmInputs]:
    """Every arm's inputs before any arm is trained, so that what is wrong with the data is found first."""
    made = {}
    for arm in arms:
        say(f"preparing {arm}")
        made[arm] = maker.make(arm)
    return made
