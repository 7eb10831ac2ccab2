"""Which keys may be swept, which values they take, and the recipe of one trial."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from darkcovid.core.errors import UsageError
from darkcovid.recipe.errors import dotted_names, suggest_name
from darkcovid.recipe.recipe import MAY_DIFFER, NOT_OF_ARMS, Recipe, check_arms_comparable, validate
from darkcovid.recipe.sections import SUSPECTS
from darkcovid.recipe.sweep import SearchSpace, Sweep

MAX_GRID = 10_000
FIXED = ("name", "task", "audit", "audit_epochs_fraction", "reported_results", *sorted(NOT_OF_ARMS))
FIXED_TRAINING = ("training.folds", "training.seeds", "training.seed")
VIEWS = ("training.tta_views", "training.tta_below")


def require_sweep(recipe: Recipe) -> Sweep:
    """A recipe's sweep.

    Raises:
        UsageError: It has none.
    """
    if recipe.sweep is None:
        raise UsageError(f"{recipe.name}: the recipe has no sweep; add `sweep: {{over: {{training.lr: [1.0e-3, 3.0e-3]}}}}`")
    return recipe.sweep


def swept_arm(recipe: Recipe) -> str:
    """The arm whose keys a recipe's sweep tries: the one it names, or the first."""
    return (recipe.sweep.arm if recipe.sweep else None) or next(iter(recipe.arms), recipe.name)


def with_swept_keys(recipe: Recipe, values: Mapping[str, Any], name: str | None = None) -> Recipe:
    """A recipe without a sweep, in which the swept arm has some keys replaced.

    Args:
        recipe: With a sweep.
        values: By dotted key.
        name: Of a further arm that gets them, in place of the swept one; None: the swept one.

    Returns:
        The recipe.

    Raises:
        UsageError: A value is wrong for its key, or contradicts another.
    """
    arm = swept_arm(recipe)
    arms = recipe.arms or {arm: {}}
    changed = arms | {name or arm: {**arms[arm], **values}}
    plain = recipe.model_dump(mode="json") | {"arms": changed, "sweep": None, "ensemble": {}}
    trial = validate(plain, where="")
    check_arms_comparable(trial)
    return trial


def takes_whole_numbers(recipe: Recipe, key: str, space: SearchSpace) -> bool:
    """Whether a key takes no number with a fraction.

    Args:
        recipe: With a sweep.
        key: A swept key.
        space: Its values.

    Returns:
        False of choices.
    """
    if space.ends is None:
        return False
    low, high = space.ends
    between = low + 0.37 * (high - low)
    return _fault(recipe, key, between if between % 1 else between + 0.5) is not None


def check_sweep(recipe: Recipe) -> None:
    """Whether a recipe's sweep can be made.

    Args:
        recipe: Any.

    Raises:
        UsageError: It sweeps what it may not, a value is wrong for its key, or the recipe has no one validation set to lock.
    """
    sweep = recipe.sweep
    if sweep is None:
        return
    if recipe.task != "classification":
        raise UsageError("sweep: of classifiers; leave it out of a segmenter's recipe")
    if recipe.training.folds:
        raise UsageError(
            "sweep: with training.folds every patient is validated on, and none is left to confirm the winner; leave out "
            "training.folds (sweep.folds are the inner folds of the training set)"
        )
    arms = list(recipe.arms) or [recipe.name]
    if sweep.arm is not None and sweep.arm not in arms:
        raise UsageError(f"sweep.arm: no arm is called {sweep.arm!r}{suggest_name(sweep.arm, arms)}")
    if recipe.arm_recipes()[swept_arm(recipe)].data.leave_out == SUSPECTS:
        raise UsageError(
            f"data.leave_out: {SUSPECTS} are looked for by further fits, which the trials of a sweep do not make; leave it out, "
            "or name the suspects.csv of a fit"
        )
    known = list(dotted_names(Recipe))
    for key, space in sweep.over.items():
        _check_key(key, known)
        _check_values(recipe, sweep, key, space)
    if sweep.sampler == "grid":
        grids = [space.grid(takes_whole_numbers(recipe, key, space)) or [] for key, space in sweep.over.items()]
        size = math.prod(map(len, grids))
        if size > MAX_GRID:
            raise UsageError(f"sweep.sampler: a grid of {size} combinations; at most {MAX_GRID}: leave values out, or use tpe")


def is_sweepable(key: str) -> bool:
    """Whether a key of a recipe may be swept."""
    return _reason_against(key) is None


def _reason_against(key: str) -> str | None:
    """Why a key of a recipe may not be swept."""
    top, _, rest = key.partition(".")
    if top in FIXED:
        return "arms of one recipe share it, so it cannot be swept"
    if key in FIXED_TRAINING:
        return "a seed that is chosen by its metric is chance; sweep another key"
    if key in VIEWS:
        return "trials are judged without views at test time, so it would change nothing; sweep another key"
    if top == "data" and rest.split(".")[0] not in MAY_DIFFER:
        return "a sweep keeps the images, their labels and the split; sweep another key"
    return "name the keys in it, such as training.lr" if key == "training" else None


def _check_key(key: str, known: Iterable[str]) -> None:
    where = f"sweep.over.{key}"
    if key not in known:
        likely = [name for name in known if is_sweepable(name)]
        elsewhere = [name for name in likely if name.rpartition(".")[2] == key.rpartition(".")[2]]
        hint = f"; did you mean {' or '.join(map(repr, elsewhere))}?" if elsewhere else suggest_name(key, likely)
        raise UsageError(f"{where}: unknown key{hint if len(hint) < 200 else '; docs/recipes.md lists them'}")
    reason = _reason_against(key)
    if reason is not None:
        raise UsageError(f"{where}: {reason}")


def _check_values(recipe: Recipe, sweep: Sweep, key: str, space: SearchSpace) -> None:
    where = f"sweep.over.{key}"
    whole = takes_whole_numbers(recipe, key, space)
    if whole and any(value % 1 for value in (*(space.ends or ()), space.step or 1)):
        raise UsageError(f"{where}: this key takes whole numbers; give whole ends and steps")
    values = list(space.choices or ()) if space.ends is None else [round(end) if whole else end for end in space.ends]
    for value in values:
        if key == "data.leave_out" and value == SUSPECTS:
            raise UsageError(f"{where}: {SUSPECTS} are looked for by further fits, which a sweep does not make; name a file")
        fault = _fault(recipe, key, value)
        if fault is not None:
            raise UsageError(f"{where}: {fault}")
    if sweep.sampler == "grid" and space.grid(whole) is None:
        raise UsageError(f"{where}: a grid needs the values: give choices, a step, or points")


def _fault(recipe: Recipe, key: str, value: Any) -> str | None:
    """What is wrong with a value of a key by itself; None of one that only contradicts other keys, which may be swept too."""
    try:
        with_swept_keys(recipe, {key: value})
    except UsageError as error:
        message = str(error).removeprefix(f"arms.{swept_arm(recipe)}.")
        if message.startswith((f"{key}: ", f"{key}.")):
            return message.removeprefix(f"{key}: ").removeprefix(f"{key}.")
    return None
