"""What commands do alike: read the recipe or manifest they were given, import the heavy libraries, print the answer."""

import json
from pathlib import Path
from typing import Any

import typer

from darkcovid.core.errors import DarkCovidError, UsageError
from darkcovid.core.log import logger


def load_recipe_from_options(recipe: Path, sets: list[str], manifest: str | None, phantom: bool, data_root: str | None):
    """The recipe with `--set`, `--manifest`, `--phantom` and `--data-root` applied."""
    from darkcovid.recipe import PHANTOM, load_recipe

    if phantom and manifest is not None:
        raise UsageError("--phantom and --manifest exclude each other; give one of them")
    chosen = PHANTOM if phantom else manifest
    overrides = [*sets]
    if chosen is not None:
        overrides.append(f"data.manifest={json.dumps(chosen)}")
    if phantom:
        overrides.append("data.dataset=null")
    if data_root is not None:
        overrides.append(f"data.root={json.dumps(data_root)}")
    resolved = load_recipe(recipe, overrides)
    chosen_here = any(override.startswith("data.dataset=") for override in sets)
    return resolved if manifest is None or chosen_here else _of_a_manifest_of_ones_own(resolved)


def _of_a_manifest_of_ones_own(recipe):
    """The recipe, without its own `data.dataset` when the manifest on the command line has no such dataset."""
    from darkcovid.data.manifest import read_manifest
    from darkcovid.recipe import PHANTOM

    data = recipe.data
    if data.manifest == PHANTOM or data.dataset is None:
        return recipe
    if (read_manifest(data.manifest, data.root).rows.dataset == data.dataset).any():
        return recipe
    logger.info(f"{data.manifest}: all of its rows are used (the recipe's own dataset, {data.dataset}, is not in it)")
    return recipe.model_copy(update={"data": data.model_copy(update={"dataset": None})})


def manifest_rows(path: Path, data_root: str | None, dataset: str | None):
    """A manifest, or one dataset's rows of it."""
    from darkcovid.data.manifest import read_manifest

    manifest = read_manifest(path, data_root)
    return manifest if dataset is None else manifest.of_dataset(dataset, "--dataset")


def cache_folder(cache_dir: Path | None) -> Path:
    """`--cache-dir`, or the user's own."""
    from darkcovid.core.io import user_cache_dir

    return cache_dir or user_cache_dir()


def spark_session(engine: str, master: str | None, settings: list[str]):
    """A Spark session where `--engine` asks for one, else None."""
    if engine == "local":
        return None
    from darkcovid.core.warnings import silence_known_warnings
    from darkcovid.scale.spark import parse_conf, start_spark

    silence_known_warnings()
    return start_spark(master, parse_conf(settings))


def run_heavy(work):
    """`work()`, with one clear line when the deep-learning libraries do not import, and without their warnings."""
    from darkcovid.core.warnings import silence_known_warnings

    silence_known_warnings()
    try:
        import fastai.data.core  # noqa: F401
    except ImportError as error:
        raise DarkCovidError(
            f"fastai does not import ({error}); install darkcovid into a fresh environment with `make venv`"
        ) from error
    return work()


def print_result(value: Any, as_json: bool, show) -> None:
    """Print the answer: JSON and nothing else, or as `show` shows it to a person."""
    if as_json:
        typer.echo(json.dumps(value, indent=2, default=to_jsonable))
    else:
        show()


def to_jsonable(value: Any) -> Any:
    """A dataclass as a mapping, anything else as text."""
    from dataclasses import asdict, is_dataclass

    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)
