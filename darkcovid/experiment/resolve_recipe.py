"""A recipe as a person names it, with what is said beside it: other images, other keys."""

import json
from collections.abc import Sequence
from pathlib import Path

from darkcovid.core.errors import UsageError
from darkcovid.core.log import logger
from darkcovid.data.manifest import read_manifest
from darkcovid.recipe import PHANTOM, Recipe, load_recipe


def resolve_recipe(
    recipe: str | Path,
    sets: Sequence[str] = (),
    manifest: str | Path | None = None,
    phantom: bool = False,
    data_root: str | Path | None = None,
) -> Recipe:
    """The recipe with the options of the command line, or of a call, applied.

    Args:
        recipe: Its file, or the name of a shipped one.
        sets: `key.path=value` each.
        manifest: In place of the recipe's; a dataset of the recipe that this manifest does not have is dropped.
        phantom: Whether the images are drawn ones.
        data_root: Where images are looked for besides.

    Returns:
        The resolved recipe.

    Raises:
        UsageError: `phantom` beside `manifest`; and as `load_recipe` does.
    """
    if phantom and manifest is not None:
        raise UsageError("--phantom and --manifest exclude each other; give one of them")
    source = PHANTOM if phantom else manifest
    overrides = [*sets]
    if source is not None:
        overrides.append(f"data.manifest={json.dumps(str(source))}")
    if phantom:
        overrides += ["data.dataset=null", "data.datasets=null"]
    if data_root is not None:
        overrides.append(f"data.root={json.dumps(str(data_root))}")
    resolved = load_recipe(recipe, overrides)
    dataset_given = any(override.startswith(("data.dataset=", "data.datasets=")) for override in sets)
    return resolved if manifest is None or dataset_given else _without_absent_dataset(resolved)


def _without_absent_dataset(recipe: Recipe) -> Recipe:
    """The recipe, without its own datasets when the manifest that was given has none of them."""
    data = recipe.data
    names = data.selected_datasets
    if data.manifest == PHANTOM or not names:
        return recipe
    if read_manifest(data.manifest, data.root).rows.dataset.isin(names).any():
        return recipe
    logger.info(f"{data.manifest}: all of its rows are used (the recipe's own dataset, {', '.join(names)}, is not in it)")
    return recipe.model_copy(update={"data": data.model_copy(update={"dataset": None, "datasets": None})})
