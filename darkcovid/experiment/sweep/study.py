"""The trials of a sweep, kept by Optuna in an SQLite file in the sweep's folder.

A trial's values depend on the sweep's seed, the trial's place among those that count, and the results before it: a sweep that was
killed goes on as if it had not been. A trial that a kill or the end of the time cut short does not count, and is made again.
"""

import itertools
import json
import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import filelock
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from darkcovid.evaluation.sweep_result import TrialRecord
from darkcovid.recipe import (
    LOWER_IS_BETTER,
    Recipe,
    SearchSpace,
    Sweep,
    require_sweep,
    swept_arm,
    takes_whole_numbers,
)

FILE, NAME = "study.db", "sweep"
DEFAULT_TRIALS = 20
STEPS_PER_FOLD = 10  # an intermediate value is reported after every tenth of a fold's epochs
WARM_UP_STEPS = 3  # of a trial, before it may be pruned
STARTUP_TRIALS = 4  # finished ones, before any may be pruned by their median
LOCK_SECONDS = 60  # that a process waits for another's writing
REASON, SECONDS, FOLDS, PLAIN = "reason", "seconds", "folds", "plain"

optuna.logging.set_verbosity(optuna.logging.WARNING)


class SweepStudy:
    """The trials of a sweep.

    Args:
        folder: The sweep's.
        recipe: With the sweep.
    """

    def __init__(self, folder: Path, recipe: Recipe):
        self.folder, self.recipe, self.sweep = folder, recipe, require_sweep(recipe)
        self.whole = {key: takes_whole_numbers(recipe, key, space) for key, space in self.sweep.over.items()}
        self.distributions = {key: self._distribution(key, space) for key, space in self.sweep.over.items()}
        self.plain_values = self._plain_values()
        lower = self.sweep.metric in LOWER_IS_BETTER
        self.sign = -1 if lower else 1
        url, options = f"sqlite:///{folder / FILE}", {"connect_args": {"timeout": LOCK_SECONDS}}
        with self._lock():  # tables are made by whoever comes first
            self.study = optuna.create_study(
                storage=optuna.storages.RDBStorage(url, engine_kwargs=options),
                study_name=NAME,
                direction="minimize" if lower else "maximize",
                pruner=_make_pruner(self.sweep),
                load_if_exists=True,
            )

    @property
    def total(self) -> int:
        """How many trials there are to be."""
        if self.sweep.sampler != "grid":
            return self.sweep.trials or DEFAULT_TRIALS
        size = len(self._grid())
        return min(self.sweep.trials or size, size)

    def ask(self) -> optuna.Trial | None:
        """Begin the next trial; None where all have begun. Several processes may ask at once."""
        with self._lock():
            began = [trial for trial in self.study.get_trials(deepcopy=False) if _state(trial) != "interrupted"]
            place = len(began)
            if place >= self.total:
                return None
            self.study.sampler = self._sampler(place)
            trial = self.study.ask(self.distributions)
            trial.set_user_attr(PLAIN, trial.params == self.plain_values)
            return trial

    def values(self, trial: optuna.Trial | FrozenTrial) -> dict[str, Any]:
        """A trial's values by key, as a recipe takes them."""
        return {key: self._value(key, trial.params[key]) for key in self.distributions if key in trial.params}

    def finish(self, trial: optuna.Trial, metric: float, folds: list[float], seconds: float) -> None:
        """Write down a trial that went to its end.

        Args:
            trial: As `ask` gave it.
            metric: On all inner folds together.
            folds: The metric of each inner fold.
            seconds: That it took.
        """
        trial.set_user_attr(FOLDS, folds)
        trial.set_user_attr(SECONDS, seconds)
        self.study.tell(trial, metric)

    def prune(self, trial: optuna.Trial, seconds: float) -> None:
        """Write down a trial that was pruned.

        Args:
            trial: As `ask` gave it.
            seconds: That it took.
        """
        trial.set_user_attr(SECONDS, seconds)
        self.study.tell(trial, state=TrialState.PRUNED)

    def fail(self, trial: optuna.Trial, reason: str) -> None:
        """Write down a trial that could not be made, or, without a reason, one that was cut short and does not count.

        Args:
            trial: As `ask` gave it.
            reason: Why it could not be made.
        """
        if reason:
            trial.set_user_attr(REASON, reason)
        self.study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)

    def drop_unfinished(self) -> None:
        """Write down that trials which nobody is making any more were cut short."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING)):
            self.study.tell(trial.number, state=TrialState.FAIL)

    def same_values(self, trial: optuna.Trial) -> TrialRecord | None:
        """An earlier complete trial of the same values, which need not be made again: it would end the same."""
        values = self.values(trial)
        return next((record for record in self.records() if record.state == "complete" and record.values == values), None)

    def records(self) -> list[TrialRecord]:
        """Every trial, in the order in which they began."""
        return [self._record(trial) for trial in self.study.get_trials(deepcopy=False)]

    def best(self) -> TrialRecord | None:
        """The complete trial of the best metric, of several the plain recipe, else the first; None while there is none."""
        complete = [record for record in self.records() if record.state == "complete" and record.metric is not None]
        return max(complete, key=self._rank, default=None)

    def _rank(self, record: TrialRecord) -> tuple[float, bool, int]:
        """Greatest for the best."""
        return self.sign * (record.metric or 0.0), record.plain, -record.number

    def importance(self) -> dict[str, float]:
        """The share of the metric's variance that each key explains, by functional ANOVA (Hutter et al. 2014), the greatest
        first; nothing where there are too few trials to say."""
        complete = [record for record in self.records() if record.state == "complete"]
        if len(complete) < 2 * len(self.distributions) + 2 or len({record.metric for record in complete}) < 2:
            return {}
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=self.sweep.seed)
        return {
            key: float(share) for key, share in optuna.importance.get_param_importances(self.study, evaluator=evaluator).items()
        }

    def _record(self, trial: FrozenTrial) -> TrialRecord:
        attributes = trial.user_attrs
        metric = trial.value
        if trial.state == TrialState.PRUNED and trial.intermediate_values:
            metric = trial.intermediate_values[max(trial.intermediate_values)]
        return TrialRecord(
            trial.number + 1,
            _state(trial),
            self.values(trial),
            metric,
            attributes.get(SECONDS),
            tuple(attributes.get(FOLDS, ())),
            bool(attributes.get(PLAIN, False)),
            attributes.get(REASON, ""),
        )

    def _distribution(self, key: str, space: SearchSpace) -> BaseDistribution:
        whole = self.whole[key]
        listed = space.grid(whole) if space.choices is not None or self.sweep.sampler == "grid" else None
        if listed is not None:
            return CategoricalDistribution([_label(value) for value in listed])
        low, high = space.ends or (0.0, 0.0)
        log = space.log_range is not None
        if space.step is not None:
            high = (space.grid(whole) or [high])[-1]  # the last one that steps reach
        if whole:
            return IntDistribution(round(low), round(high), log=log, step=round(space.step or 1))
        return FloatDistribution(low, high, log=log, step=space.step)

    def _value(self, key: str, internal: Any) -> Any:
        return json.loads(internal) if isinstance(self.distributions[key], CategoricalDistribution) else internal

    def _plain_values(self) -> dict[str, Any] | None:
        """The recipe's own values, as Optuna has them; None where one is outside the values that are tried."""
        plain = self.recipe.arm_recipes()[swept_arm(self.recipe)].model_dump(mode="json")
        values = {}
        for key, distribution in self.distributions.items():
            value: Any = plain
            for part in key.split("."):
                value = value.get(part) if isinstance(value, dict) else None
            categorical = isinstance(distribution, CategoricalDistribution)
            internal = _label(value) if categorical else value
            if (not categorical and not isinstance(value, int | float)) or not _holds(distribution, internal):
                return None
            values[key] = internal
        return values

    def _sampler(self, place: int) -> optuna.samplers.BaseSampler:
        """What draws the trial at a place among those that count."""
        seed = self.sweep.seed + 1_000_003 * (place + 1)
        drawn = optuna.samplers.RandomSampler(seed=seed % 2**32)
        if self.sweep.sampler == "grid":
            return _fixed_sampler(self._grid()[place], drawn)
        if place == 0 and self.plain_values is not None:
            return _fixed_sampler(self.plain_values, drawn)
        if self.sweep.sampler == "random":
            return drawn
        startup = max(2, min(10, self.total // 3))
        with _experimental_parts():
            return optuna.samplers.TPESampler(seed=seed % 2**32, n_startup_trials=startup, multivariate=True)

    def _grid(self) -> list[dict[str, Any]]:
        """Every combination, as Optuna has them, in an order that the seed draws."""
        labels = {key: [_label(value) for value in space.grid(self.whole[key]) or []] for key, space in self.sweep.over.items()}
        points = [dict(zip(labels, point, strict=True)) for point in itertools.product(*labels.values())]
        random.Random(self.sweep.seed).shuffle(points)
        return points

    def _lock(self) -> filelock.BaseFileLock:
        """Processes ask one after the other, so that no two take the same place."""
        return filelock.FileLock(self.folder / ".ask.lock")


def trial_reporter(study: SweepStudy, trial: optuna.Trial) -> Callable[[float, int], None]:
    """What takes a trial's intermediate values.

    Args:
        study: The sweep's.
        trial: As `ask` gave it.

    Returns:
        A function of the metric so far and the step; it raises `optuna.TrialPruned` where the trial is to end.
    """

    def report(metric: float, step: int) -> None:
        trial.report(metric, step)
        if trial.should_prune():
            raise optuna.TrialPruned

    return report


def _make_pruner(sweep: Sweep) -> optuna.pruners.BasePruner:
    if sweep.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS, n_warmup_steps=WARM_UP_STEPS)
    if sweep.pruner == "successive_halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=WARM_UP_STEPS, reduction_factor=3)
    if sweep.pruner == "hyperband":
        steps = sweep.folds * STEPS_PER_FOLD
        return optuna.pruners.HyperbandPruner(min_resource=WARM_UP_STEPS, max_resource=steps, reduction_factor=3)
    return optuna.pruners.NopPruner()


def _fixed_sampler(values: dict[str, Any], drawn: optuna.samplers.BaseSampler) -> optuna.samplers.BaseSampler:
    with _experimental_parts():
        return optuna.samplers.PartialFixedSampler(values, drawn)


@contextmanager
def _experimental_parts() -> Iterator[None]:
    """A context in which Optuna does not warn of parts that it has had for years and calls experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _state(trial: FrozenTrial) -> str:
    if trial.state == TrialState.FAIL:
        return "failed" if trial.user_attrs.get(REASON) else "interrupted"
    return {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}.get(trial.state, "running")


def _label(value: Any) -> str:
    """A choice as text, by which it is told from others."""
    return json.dumps(value, sort_keys=True)


def _holds(distribution: BaseDistribution, internal: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return internal in distribution.choices
    return bool(distribution._contains(internal))
