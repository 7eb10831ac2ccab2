"""What a tracker is told of a run, live while it trains or afterwards from the run's folder; and which trackers there are.

No radiograph leaves the run's folder unless that is asked for: a tracking server is often another machine.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any, Protocol, get_args

from darkcovid.audits.checks import run_checks
from darkcovid.core.credentials import without_credentials
from darkcovid.core.errors import DarkCovidError, UsageError, one_line
from darkcovid.core.log import logger
from darkcovid.experiment.recipe_differences import flat_recipe
from darkcovid.experiment.run_dir import RunDir
from darkcovid.experiment.run_state import DONE
from darkcovid.experiment.run_summary import read_run_summary
from darkcovid.recipe import TrackerName
from darkcovid.report.html import read_evidence, render_report
from darkcovid.report.pictures import PLOTS

TRACKERS: tuple[str, ...] = get_args(TrackerName)
MAX_LETTERS = 300  # of what a library says
NOT_METRICS = ("time", "event", "arm", "epoch")


class Tracker(Protocol):
    """A book in which runs are written down.

    Attributes:
        where: Where the run can be looked at, for a person; '' before it began.
    """

    where: str

    def begin(self, run: Path, params: Mapping[str, str]) -> None:
        """A run begins, or is resumed.

        Args:
            run: Its folder.
            params: The resolved recipe by dotted key.
        """
        ...

    def epoch(self, fit: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """An epoch of a fit has ended.

        Args:
            fit: `arm`, or `arm/fold1-seed7`.
            epoch: From 1.
            metrics: Of it.
        """
        ...

    def finish(self, arms: Mapping[str, Mapping[str, float]], plots: Mapping[str, Path], texts: Mapping[str, str]) -> None:
        """The run is done.

        Args:
            arms: Final metrics of each arm.
            plots: PNG files by name.
            texts: More files by name: the report, the recipe, the comparison.
        """
        ...

    def close(self, failed: bool) -> None:
        """No more comes.

        Args:
            failed: Whether the run ended before it was done.
        """
        ...


def make_tracker(name: str, uri: str | None) -> Tracker:
    """A tracker by its name.

    Args:
        name: One of `TRACKERS`.
        uri: MLflow's tracking URI, or TensorBoard's log folder; None: MLFLOW_TRACKING_URI or `mlflow.db` in the current folder,
            and `tensorboard` in the run's folder; for Weights & Biases a server of one's own, None: theirs.

    Returns:
        The tracker.

    Raises:
        DarkCovidError: Its library is not installed, or cannot use the address.
    """
    try:
        if name == "tensorboard":
            from darkcovid.experiment.trackers.tensorboard import TensorBoardTracker

            return TensorBoardTracker(uri)
        if name == "wandb":
            from darkcovid.experiment.trackers.wandb import WandbTracker

            return WandbTracker(uri)
        from darkcovid.experiment.trackers.mlflow import MlflowTracker

        return MlflowTracker(uri)
    except ImportError as error:
        raise DarkCovidError(f"--tracker {name} needs {error.name}; install `darkcovid[track]`") from None
    except Exception as error:  # of any kind: whatever a library makes of an address
        raise DarkCovidError(f"{name}: {_short(error)}; correct --tracking-uri, or MLFLOW_TRACKING_URI") from error


class LiveTracking:
    """Tells a tracker of a run's events as they come. A tracker that fails is told nothing more; the run goes on.

    Args:
        tracker: Told.
        name: Its name.
        images: Whether radiographs may leave the run's folder.
    """

    def __init__(self, tracker: Tracker, name: str, images: bool = False):
        self.tracker, self.name, self.images = tracker, name, images
        self.broken = False

    @contextmanager
    def watch(self, directory: RunDir) -> Iterator[None]:
        """A context in which a run is made: the tracker is told of its events, and at the end of what it left.

        Args:
            directory: The run's.

        Yields:
            Nothing.

        Raises:
            BaseException: Whatever ended the run.
        """
        self._attempt(directory.path, lambda: self.tracker.begin(directory.path, recipe_params(directory.path)))
        directory.listeners.append(lambda event: self._attempt(directory.path, lambda: tell_event(self.tracker, event)))
        try:
            yield
        except BaseException:
            self._attempt(directory.path, lambda: self.tracker.close(failed=True))
            raise
        self._attempt(directory.path, lambda: self.tracker.finish(*final_results(directory.path, self.images)))
        self._attempt(directory.path, lambda: self.tracker.close(failed=False))
        self._tell_where()

    def write_finished(self, run: Path) -> None:
        """Tell the tracker of a run that other processes made.

        Args:
            run: Its folder.
        """
        self._attempt(run, lambda: _tell_finished(run, self.tracker, self.images))
        self._tell_where()

    def _tell_where(self) -> None:
        if not self.broken:
            logger.info("%s: %s", self.name, without_credentials(self.tracker.where))

    def _attempt(self, run: Path, work: Callable[[], None]) -> None:
        if self.broken:
            return
        try:
            work()
        except Exception as error:  # noqa: BLE001 (whatever a server or a library does, training goes on)
            self.broken = True
            advice = f"the run goes on without it; afterwards: darkcovid track {run} --to {self.name}"
            logger.warning(f"{self.name}: {_short(error)}; {advice}")


def track_finished(run: Path, tracker: Tracker, images: bool = False) -> None:
    """Write a finished run into a tracker's book.

    Args:
        run: Its folder.
        tracker: Told.
        images: Whether radiographs may leave the run's folder.

    Raises:
        UsageError: The run is not finished.
        DarkCovidError: The tracker cannot take it, such as of a server that does not answer.
    """
    directory = RunDir(run)
    if directory.state() != DONE or not (run / "comparison.json").is_file():
        raise UsageError(f"{run}: not a finished run; finish it with `darkcovid run ... --resume`")
    try:
        _tell_finished(run, tracker, images)
    except DarkCovidError:
        raise
    except Exception as error:  # of any kind: whatever a server or a library does
        advice = "see that the tracker's server runs and that --tracking-uri is its address, then repeat the command"
        raise DarkCovidError(f"{run}: not written, {_short(error)}; {advice}") from error


def _tell_finished(run: Path, tracker: Tracker, images: bool) -> None:
    results = final_results(run, images)
    tracker.begin(run, recipe_params(run))
    for event in RunDir(run).events():
        tell_event(tracker, event)
    tracker.finish(*results)
    tracker.close(failed=False)


def _short(error: Exception) -> str:
    """What a library says, in one line and without passwords."""
    return shorten(without_credentials(one_line(error)).rstrip("."), MAX_LETTERS, placeholder=" ...")


def tell_event(tracker: Tracker, event: Mapping[str, Any]) -> None:
    """Tell a tracker of an event of `events.jsonl`, where it is an epoch.

    Args:
        tracker: Told.
        event: With its time and name.
    """
    if event.get("event") == "epoch":
        metrics = {name: value for name, value in event.items() if name not in NOT_METRICS and isinstance(value, int | float)}
        tracker.epoch(event["arm"], int(event["epoch"]), metrics)


def recipe_params(run: Path) -> dict[str, str]:
    """A run's resolved recipe by dotted key, as text without passwords in addresses."""
    params = {key: value if isinstance(value, str) else json.dumps(value) for key, value in flat_recipe(run).items()}
    return {key: without_credentials(value) for key, value in params.items()}


def final_results(run: Path, images: bool) -> tuple[dict[str, dict[str, float]], dict[str, Path], dict[str, str]]:
    """What `Tracker.finish` takes.

    Args:
        run: A finished run's folder.
        images: Whether radiographs are shown in the report.

    Returns:
        Final metrics of each arm, plots without radiographs by name, and texts by file name.

    Raises:
        UsageError: The run is not finished.
    """
    arms = {name: dict(arm.metrics) for name, arm in read_run_summary(run).arms.items()}
    plots = {f"{arm}/{plot}": run / arm / "plots" / f"{plot}.png" for arm in arms for plot in PLOTS}
    plots["comparison"] = run / "comparison.png"
    texts = {name: (run / name).read_text(encoding="utf-8") for name in ("recipe.yaml", "comparison.json", "environment.json")}
    if (run / "report.html").is_file():
        evidence = read_evidence(run)
        texts["report.html"] = render_report(evidence, run_checks(evidence), run, images)
    texts = {name: without_credentials(text) for name, text in texts.items()}
    return arms, {name: path for name, path in plots.items() if path.is_file()}, texts
