"""What commands do alike: read the recipe or manifest they were given, import the heavy libraries, print the result."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from darkcovid.core.errors import DarkCovidError

if TYPE_CHECKING:
    from darkcovid.scale.parallel import Commands


def load_recipe_from_options(recipe: Path, sets: list[str], manifest: str | None, phantom: bool, data_root: str | None):
    """The recipe with the options of the command line applied.

    Args:
        recipe: Its file.
        sets: `--set KEY=VALUE`.
        manifest: `--manifest`; a dataset of the recipe that this manifest does not have is dropped.
        phantom: `--phantom`.
        data_root: `--data-root`.

    Returns:
        The resolved recipe.

    Raises:
        UsageError: `--phantom` beside `--manifest`; and as `load_recipe` does.
    """
    from darkcovid.experiment.resolve_recipe import resolve_recipe

    return resolve_recipe(recipe, sets, manifest, phantom, data_root)


def manifest_rows(path: Path, data_root: str | None, dataset: str | None):
    """A manifest, or one dataset's rows of it.

    Args:
        path: The CSV.
        data_root: Where images are looked for besides.
        dataset: The dataset's name; None takes all rows.

    Returns:
        The manifest.
    """
    from darkcovid.data.manifest import read_manifest

    manifest = read_manifest(path, data_root)
    return manifest if dataset is None else manifest.of_datasets([dataset], "--dataset")


def cache_folder(cache_dir: Path | None) -> Path:
    """`--cache-dir`, or the user's own."""
    from darkcovid.core.io import user_cache_dir

    return cache_dir or user_cache_dir()


def spark_session(engine: str, master: str | None, settings: list[str]):
    """A Spark session where one is asked for.

    Args:
        engine: "local" or "spark".
        master: Spark's master; None takes all cores of this machine.
        settings: `--spark-conf KEY=VALUE`.

    Returns:
        The session; None for "local".
    """
    if engine == "local":
        return None
    from darkcovid.core.warnings import silence_known_warnings
    from darkcovid.scale.spark import parse_conf, start_spark

    silence_known_warnings()
    return start_spark(master, parse_conf(settings))


def parallel_commands(engine: str, jobs: int | None) -> "Commands | None":
    """What runs fits or trials at the same time.

    Args:
        engine: "local" or "ray".
        jobs: How many at a time; None: one on this machine, on Ray as many as the cluster has GPUs or machines.

    Returns:
        The commands; None where one process is to do all of it.
    """
    if engine == "ray":
        from darkcovid.scale.ray_cluster import RayCluster

        return RayCluster(jobs)
    if jobs is None or jobs == 1:
        return None
    from darkcovid.scale.parallel import ChildProcesses

    return ChildProcesses(jobs)


def run_heavy(work, make_room: bool = False):
    """`work()`, without the deep-learning libraries' known warnings.

    Args:
        work: Called with nothing.
        make_room: Whether it computes with fewer threads beside other work.

    Raises:
        DarkCovidError: They cannot be imported.
    """
    from darkcovid.core.cpu_threads import choose_cpu_threads
    from darkcovid.core.log import logger
    from darkcovid.core.slow_progress import slow_step
    from darkcovid.core.warnings import silence_known_warnings

    silence_known_warnings()
    with slow_step("looking whether other work uses the processors"):
        found = choose_cpu_threads(make_room)
    if notice := found.notice():
        logger.info(notice)
    try:
        with slow_step("loading torch and fastai"):
            import fastai.data.core  # noqa: F401
    except ImportError as error:
        raise DarkCovidError(
            f"fastai does not import ({error}); install darkcovid into a fresh environment with `make venv`"
        ) from error
    return work()


def print_result(value: Any, as_json: bool, show) -> None:
    """Print a command's result.

    Args:
        value: What `--json` prints, and nothing else.
        as_json: Whether `--json` was given.
        show: Prints it for a person.
    """
    if as_json:
        typer.echo(json.dumps(value, indent=2, default=to_jsonable))
    else:
        show()


def to_jsonable(value: Any) -> Any:
    """A dataclass as a mapping, anything else as text."""
    from dataclasses import asdict, is_dataclass

    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else str(value)
