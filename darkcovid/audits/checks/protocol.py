"""Checks 13 to 18: was the experiment one that can be believed?"""

from collections.abc import Mapping
from typing import Any

from darkcovid.audits.checks.registry import AUTHOR, FAIL, NOT_RUN, PASS, WARN, CheckOutcome, RunEvidence, check
from darkcovid.recipe import AUGMENTATIONS

ROUNDING = 1e-5  # of a mean gray in 0..1, stored as float32
FITTED = ("training", "zca")  # ways of normalizing whose mean is that of all training images


@check(13, "protocol", "split before anything is fitted")
def _split_first(e: RunEvidence) -> CheckOutcome:
    known = {name: arm.metrics.normalizer for name, arm in e.arms.items() if arm.metrics.normalizer}
    if not known:
        return NOT_RUN, "the run does not say which images its normalization was fitted to"
    fitted = {name: normalizer for name, normalizer in known.items() if normalizer.kind in FITTED}
    off = [name for name, normalizer in fitted.items() if normalizer.distance > ROUNDING]
    text = "; ".join(
        f"{name}: normalized by mean gray {normalizer.mean:.5f}, that of the training images {normalizer.training_mean:.5f}"
        for name, normalizer in fitted.items()
    )
    if off:
        return FAIL, f"the normalization of {', '.join(off)} was fitted to other images than the training set ({text})"
    kinds = sorted({normalizer.kind for normalizer in known.values()})
    return PASS, text or f"nothing is fitted to all images ({', '.join(kinds)})"


@check(14, "protocol", "the test set scored once", declares=True)
def _test_once(e: RunEvidence) -> CheckOutcome:
    if any(arm.metrics.test for arm in e.arms.values()):
        return AUTHOR, "a test set was scored once in this run; say how many runs looked at it before"
    return AUTHOR, "no test set was held out (data.split.test); say how often the images scored were looked at before"


@check(15, "protocol", "folds and seeds, not the best of them")
def _folds(e: RunEvidence) -> CheckOutcome:
    folds, seeds = e.recipe["training"].get("folds"), e.recipe["training"].get("seeds")
    if folds or (seeds and len(seeds) > 1):
        return PASS, f"{folds or 'no'} folds, {len(seeds) if seeds else 1} seeds, all of them pooled"
    return WARN, "one split and one seed: training.folds and training.seeds show more"


@check(16, "protocol", "which epoch is kept")
def _epoch(e: RunEvidence) -> CheckOutcome:
    text = e.each(lambda recipe: f"the {recipe['training']['checkpoint']} epoch, declared in the recipe")
    looking = {
        key for name, recipe in e.recipes.items() if not e.arms[name].metrics.test for key in keys_that_look(recipe["training"])
    }
    if not looking:
        return PASS, text
    return WARN, f"{text}; {', '.join(sorted(looking))}: decided by the validation set that is also reported"


def keys_that_look(training: Mapping[str, Any]) -> list[str]:
    """The keys by which a fit goes by its validation set.

    Args:
        training: A recipe's section of that name, as in JSON.

    Returns:
        Of `early_stopping_patience`, `reduce_lr_on_plateau` and `checkpoint` those that do.
    """
    keys = [key for key in ("early_stopping_patience", "reduce_lr_on_plateau") if training.get(key)]
    return keys + ["checkpoint"] * (training["checkpoint"] == "best")


@check(17, "protocol", "augmentations")
def _augmentations(e: RunEvidence) -> CheckOutcome:
    text = e.each(lambda recipe: _named(recipe["data"]["augment"]))
    mirrored = [name for name, recipe in e.recipes.items() if _mirrors(recipe["data"]["augment"])]
    if not mirrored:
        return PASS, text
    return WARN, f"{text}: mirrored images put the heart on the right side ({', '.join(mirrored)})"


def _named(augment: str | dict[str, Any]) -> str:
    return augment if isinstance(augment, str) else "spelled out in the recipe"


def _mirrors(augment: str | dict[str, Any]) -> bool:
    """Whether a preset, or what is spelled out, flips images: either flip leaves a mirror image, turned or not."""
    preset = AUGMENTATIONS.get(augment) if isinstance(augment, str) else None
    ranges = preset.model_dump() if preset else augment if isinstance(augment, dict) else {}
    return any(ranges.get(flip, 0) > 0 for flip in ("flip", "flip_vertical"))


@check(18, "protocol", "the same budget for every arm")
def _budget(e: RunEvidence) -> CheckOutcome:
    epochs = {name: arm.cost.epochs for name, arm in e.arms.items()}
    text = ", ".join(f"{name} {count}" for name, count in epochs.items())
    return (PASS if len(set(epochs.values())) == 1 else WARN), f"epochs: {text}"
