"""What differs between the resolved recipes of runs, key by key."""

from pathlib import Path
from typing import Any

from darkcovid.recipe import load_recipe


def recipe_differences(*runs: Path) -> dict[str, list[Any]]:
    """The keys whose values differ between the recipes of two or more runs.

    Args:
        *runs: Their folders.

    Returns:
        One value per run by dotted key; None stands for null and for a key that is not there.

    Raises:
        UsageError: A recipe is missing or damaged.
    """
    flat = [flat_recipe(run) for run in runs]
    values = {key: [recipe.get(key) for recipe in flat] for recipe in flat for key in recipe}
    return {key: row for key, row in values.items() if any(value != row[0] for value in row)}


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
