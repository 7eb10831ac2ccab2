"""A recipe for images, classes and time of one's own: the main experiment, with as many epochs as fit."""

import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from darkcovid.core.errors import UsageError
from darkcovid.experiment.dry_run import dry_run
from darkcovid.recipe import PHANTOM
from darkcovid.recipe.recipe import validate

MIN_EPOCHS, MAX_EPOCHS = 3, 100
SPARE = 0.8  # share of the time that training may take: the rest is for decoding, finding lungs and audits

TEMPLATE = """\
# Written by `darkcovid init`; run it with: darkcovid run {quoted}
# Every key there is: darkcovid recipe reference
name: {name}
data:
  manifest: {manifest}
{more}  classes: {classes}
  split:
    method: stratified_group   # all images of a patient are in one set
    valid: 0.2                 # share of the images in the validation set
    seed: 41
  image_size: 256              # pixels; whole images are squashed to a square
  augment: fastai_default      # flips, rotation, zoom, lighting; `none` for none
model:
  arch: darkcovidnet           # all others: darkcovid models list
lungs:
  mode: crop                   # the lungs are found by the shipped U-Net, and images cropped to them
  margin: 0.05                 # the box is widened by this share of its sides
  crop_size: 128               # pixels; fewer pixels than the whole image cost less time
  context_channel: true        # a second channel with the whole image, as small
training:
  epochs: {epochs}                   # chosen for about {minutes} on this machine
  batch_size: 32
  lr: 3.0e-3                   # see also: darkcovid lr-find {quoted}
  schedule: one_cycle
  seed: 41
arms:                          # each is this recipe with some keys replaced; all are compared on the same patients
  unsegmented: {{lungs: null}}
  segmented: {{data.letterbox: true}}   # the whole image beside the crop keeps its shape, with black bars
"""


@dataclass(frozen=True)
class NewRecipe:
    """A recipe that was written for some images.

    Attributes:
        text: YAML with comments.
        epochs: Of each arm.
        seconds: That training is estimated to take.
    """

    text: str
    epochs: int
    seconds: float


def new_recipe(manifest: str, classes: list[str], minutes: float, file: Path, cache_dir: Path) -> NewRecipe:
    """Write a recipe, after some real steps of each arm have shown what an epoch costs here.

    Args:
        manifest: Its path, or `phantom`.
        classes: Two or more.
        minutes: That a run may take.
        file: Where it will be, for its comments.
        cache_dir: Where decoded images are kept.

    Returns:
        The recipe.

    Raises:
        UsageError: Fewer than two classes, or what a run would refuse before it trains.
        DataError: Images that a run would refuse.
    """
    if len(classes) < 2:
        raise UsageError(f"classes: {', '.join(classes) or 'none'}; name two or more")
    one_epoch = validate(yaml.safe_load(_text(manifest, classes, 1, minutes, file)), where="")
    arms = dry_run(one_epoch, cache_dir, []).arms.values()
    per_epoch = sum(arm.train_seconds for arm in arms)
    fitting = math.floor(SPARE * 60 * minutes / per_epoch)
    epochs = min(MAX_EPOCHS, max(MIN_EPOCHS, fitting))
    return NewRecipe(_text(manifest, classes, epochs, minutes, file), epochs, epochs * per_epoch)


def _text(manifest: str, classes: list[str], epochs: int, minutes: float, file: Path) -> str:
    more = "  phantom: {patients: 150}     # drawn radiographs, not real ones\n" if manifest == PHANTOM else ""
    return TEMPLATE.format(
        name=_name(file, manifest),
        manifest=_yaml(manifest),
        more=more,
        classes=_yaml(classes),
        epochs=epochs,
        minutes="1 minute" if minutes == 1 else f"{minutes:g} minutes",
        quoted=shlex.quote(str(file)),
    )


def _yaml(value: Any) -> str:
    """A value on one line of YAML."""
    return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=float("inf")).removesuffix("\n...\n").strip()


def _name(file: Path, manifest: str) -> str:
    """A name that a recipe may have: the file's, or the folder's of its images where the file is called `recipe`."""
    folder = Path(manifest).absolute().parent.name
    own = folder if file.stem == "recipe" and manifest != PHANTOM else file.stem
    plain = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "_.-") else "_" for letter in own)
    return plain.lstrip("_.-")[:64] or "recipe"
