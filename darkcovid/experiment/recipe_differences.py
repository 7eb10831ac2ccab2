"""What differs between the resolved recipes of two runs, key by key."""

from pathlib import Path
from typing import Any

from darkcovid.recipe import load_recipe


def recipe_differences(first: Path, second: Path) -> dict[str, list[Any]]:
    """The keys whose values differ between two runs' recipes.

    Args:
        first: A run's folder.
        second: Another's.

    Returns:
        [value in the first, value in the second] by dotted key; None stands for null and for a key that is not there.

    Raises:
        UsageError: A recipe is missing or damaged.
    """
    flat = [flat_recipe(run) for run in (first, second)]
    keys = list(dict.fromkeys([*flat[0], *flat[1]]))
    return {key: [recipe.get(key) for recipe in flat] for key in keys if flat[0].get(key) != flat[1].get(key)}


def flat_recipe(run: Path) -> dict[str, Any]:
    """A run's resolved recipe by dotted key.

    Raises:
        UsageError: It is missing or damaged.
    """
    return _flattened(load_recipe(run / "recipe.yaml").model_dump(mode="json"))


def _flattened(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """By dotted key; a list, an empty mapping and a null are values."""
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            flat |= _flattened(inner, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = inner
    return flat
