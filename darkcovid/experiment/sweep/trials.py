"""The trials themselves: a fit for each inner fold, ended early where its metric is poor, until all are made or time is up."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from darkcovid.core.device import get_device
from darkcovid.core.errors import DarkCovidError, one_line
from darkcovid.core.slow_progress import slow_step
from darkcovid.data.cohort import Cohort
from darkcovid.experiment.classifier_task import ClassifierTask
from darkcovid.experiment.run_dir import RunDir
from darkcovid.experiment.sweep.deadline import Deadline, OutOfTime
from darkcovid.experiment.sweep.study import STEPS_PER_FOLD, SweepStudy, trial_reporter
from darkcovid.experiment.train_arm import FitJob
from darkcovid.metrics.classification import classification_metrics, get_metric
from darkcovid.recipe import Loss, Recipe, swept_arm, with_swept_keys
from darkcovid.report.duration import duration
from darkcovid.report.progress import Progress
from darkcovid.training.classifier import validation_metric
from darkcovid.training.fit import FitOptions
from darkcovid.training.history import History
from darkcovid.training.loss import make_task
from darkcovid.training.monitored_metric import ValidationMetricCallback
from darkcovid.training.schedule import total_epochs
from darkcovid.vision.arm_inputs import ArmInputs, InputBuilder

WITHOUT_VIEWS = {"training.tta_views": 0, "training.tta_below": None}
MAX_FAILED = 5  # trials in a row from the first on, after which something is wrong with all


@dataclass(frozen=True)
class TrialContext:
    """What every trial needs.

    Attributes:
        study: The trials.
        directory: The sweep's folder.
        cache: Folder of decoded images.
        folds: The training set, with each inner fold in turn as the validation set.
        progress: Told of each trial.
        deadline: When trials end.
        parent: The process that waits for this one; None: it is this one.
    """

    study: SweepStudy
    directory: RunDir
    cache: Path
    folds: Sequence[Cohort]
    progress: Progress
    deadline: Deadline = field(default_factory=Deadline)
    parent: int | None = None

    @property
    def time_is_up(self) -> bool:
        """Whether what is left is needed to fit the winner."""
        return self.deadline.minutes is not None and self.deadline.is_over(reserved_seconds(self.study))


def make_trials(context: TrialContext) -> None:
    """Make trials until all are made, or time is up.

    Args:
        context: What they need.

    Raises:
        DarkCovidError: The first trials all failed.
        KeyboardInterrupt: At the end of the batch in which SIGINT or SIGTERM came; the trial is made again on resuming.
    """
    study = context.study
    while not context.time_is_up:
        trial = study.ask()
        if trial is None:
            return
        try:
            _make_trial(context, trial)
        except OutOfTime:
            study.fail(trial, "")
            return
        except BaseException:
            study.fail(trial, "")
            raise
        _check_not_all_failed(study)


def trial_recipe(study: SweepStudy, values: dict[str, Any]) -> Recipe:
    """The recipe of a trial: without audits, external sets and views at test time, which a trial's metric does not need.

    Args:
        study: The sweep's.
        values: By swept key.

    Returns:
        The recipe, with the other arms, whose input sizes the swept one may borrow.

    Raises:
        UsageError: A value contradicts another key.
    """
    tried = with_swept_keys(study.recipe, {**values, **WITHOUT_VIEWS})
    bare = {"audit": "none", "data": tried.data.model_copy(update={"external": ()})}
    return tried.model_copy(update=bare)


def reserved_seconds(study: SweepStudy) -> float:
    """About how long the winner and the plain recipe will take to be fitted at the end, by what trials took; 0 before the first.

    A trial's folds are fits of (folds - 1) / folds of the training set each.
    """
    folds, seeds = study.sweep.folds, study.sweep.final_seeds
    records = [record for record in study.records() if record.state == "complete" and record.seconds]
    best = study.best()
    if not records or best is None:
        return 0.0
    usual = float(np.median([record.seconds or 0.0 for record in records]))
    plain = next((record.seconds for record in records if record.plain and record.seconds), usual)
    winner = 0.0 if best.plain else best.seconds or usual  # the plain recipe is fitted once
    return seeds * (winner + plain) / (folds - 1)


def trial_line(context: TrialContext, number: int, jobs: int = 1) -> str:
    """One line on a trial that has ended, and about how long the sweep will go on.

    Args:
        context: Of the sweep.
        number: The trial's, from 1.
        jobs: Trials at a time.

    Returns:
        `trial 3/20: training.lr=0.001: balanced_accuracy 0.8123, 12.1 s; about 3 min 20 s left`.
    """
    study, records = context.study, context.study.records()
    record = records[number - 1]
    ended = [other for other in records if other.state in ("complete", "pruned", "failed")]
    values = ", ".join(f"{key}={_short(value)}" for key, value in record.values.items())
    if record.state == "failed":
        result = f"failed: {record.reason}"
    else:
        pruned = "pruned at " if record.state == "pruned" else ""
        result = f"{pruned}{study.sweep.metric} {_short(record.metric)}, {record.seconds or 0:.1f} s"
    seconds = [other.seconds for other in ended if other.seconds]
    left = (study.total - len(ended)) * float(np.mean(seconds)) / jobs + reserved_seconds(study) if seconds else 0.0
    left = min(left, context.deadline.seconds_left)
    rest = f"; about {duration(left)} left" if left else ""
    return f"trial {len(ended)}/{study.total}: {values}: {result}{rest}"


def _make_trial(context: TrialContext, trial: optuna.Trial) -> None:
    study, began = context.study, time.monotonic()
    earlier = study.same_values(trial)
    try:
        if earlier is not None and earlier.metric is not None:
            study.finish(trial, earlier.metric, list(earlier.folds), 0.0)
        else:
            metric, folds = _score_trial(context, trial)
            study.finish(trial, metric, folds, time.monotonic() - began)
    except optuna.TrialPruned:
        study.prune(trial, time.monotonic() - began)
    except DarkCovidError as error:
        study.fail(trial, one_line(error))
    line = trial_line(context, trial.number + 1)
    context.progress.stage(line)
    context.directory.event("trial", **asdict(study.records()[trial.number]))


def _score_trial(context: TrialContext, trial: optuna.Trial) -> tuple[float, list[float]]:
    """The metric of all inner folds' predictions together, and that of each."""
    study = context.study
    recipe, arm = trial_recipe(study, study.values(trial)), swept_arm(study.recipe)
    fitted = recipe.arm_recipes()[arm]
    report = trial_reporter(study, trial)
    side = context.folds[0]
    builder = InputBuilder(recipe, _all_training(side), get_device(recipe.training.device), context.cache)
    inputs = builder.make(arm)
    labels, probabilities, fits, values = [], [], [], []
    for number, fold in enumerate(context.folds):
        cohort = fold.leaving_out(fitted.data)
        said = _epoch_reporter(context, fitted, cohort, values, report)
        predicted = _fit_fold(context, fitted, cohort, inputs, f"trial {trial.number + 1}, inner fold {number + 1}", said)
        of_fold = cohort.labels[cohort.valid]
        labels.append(of_fold)
        probabilities.append(predicted[cohort.valid])
        fits += [number] * len(of_fold)
        values.append(_metric(study.sweep.metric, of_fold, predicted[cohort.valid], cohort.classes))
        report(float(np.mean(values)), (number + 1) * STEPS_PER_FOLD)
    together = classification_metrics(np.concatenate(labels), np.concatenate(probabilities), side.classes, np.array(fits))
    metric = get_metric(together, study.sweep.metric)
    if metric is None:
        raise DarkCovidError(f"sweep.metric: the inner folds have no images for {study.sweep.metric}; use accuracy")
    return metric, values


def _fit_fold(
    context: TrialContext, recipe: Recipe, cohort: Cohort, inputs: ArmInputs, name: str, said: "EpochReporter"
) -> np.ndarray:
    """(n, classes) probabilities of every image of the training set."""
    compute = get_device(recipe.training.device, recipe.training.precision)
    callbacks = () if recipe.model.is_probe else (ValidationMetricCallback(compute, said.metric, said.values.append),)
    job = FitJob(context.directory, name, recipe, context.directory.path)
    options = FitOptions(on_epoch=said, callbacks=callbacks)
    with slow_step(name):
        return ClassifierTask(inputs, cohort).fit(job, compute, options).probabilities


def _epoch_reporter(
    context: TrialContext,
    recipe: Recipe,
    cohort: Cohort,
    earlier: list[float],
    report: Callable[[float, int], None],
) -> "EpochReporter":
    study = context.study
    task = make_task(recipe.model.activation, Loss(), cohort.labels, len(cohort.classes), get_device("cpu").device)
    metric = validation_metric(task, cohort.classes, study.sweep.metric)
    if metric is None:
        raise ValueError("a sweep without a metric")
    return EpochReporter(context, metric, total_epochs(recipe), tuple(earlier), report)


@dataclass
class EpochReporter:
    """Called after each epoch of an inner fold: reports the metric so far, every tenth of the fold's epochs, and ends the trial
    when time is up or its parent is gone.

    Attributes:
        context: What every trial needs.
        metric: Of all logits and labels of the validation set.
        epochs: Of the fold.
        earlier: The metrics of the folds before.
        report: Takes the mean metric of the folds so far, and the step.
        values: The metric after each epoch.
        step: The last one that was reported.
    """

    context: TrialContext
    metric: Callable
    epochs: int
    earlier: tuple[float, ...]
    report: Callable[[float, int], None]
    values: list[float] = field(default_factory=list)
    step: int = 0

    def __call__(self, history: History) -> None:
        """history: The epochs so far."""
        if self.context.parent is not None and os.getppid() != self.context.parent:
            raise KeyboardInterrupt
        if self.context.time_is_up:
            raise OutOfTime
        step = STEPS_PER_FOLD * len(history.rows) // self.epochs
        if self.values and self.step < step < STEPS_PER_FOLD:  # the last one is reported with the fold's predictions
            self.step = step
            so_far = float(np.mean([*self.earlier, self.values[-1]]))
            self.report(so_far, len(self.earlier) * STEPS_PER_FOLD + step)


def _metric(name: str, labels: np.ndarray, probabilities: np.ndarray, classes: tuple[str, ...]) -> float:
    metric = get_metric(classification_metrics(labels, probabilities, classes), name)
    if metric is None:
        raise DarkCovidError(f"sweep.metric: an inner fold has no images for {name}; use fewer folds, or accuracy")
    return metric


def _all_training(side: Cohort) -> Cohort:
    """The whole training set as one, by which an input's size is found as in the fit on all of it."""
    return replace(side, valid=np.zeros(len(side), bool))


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _check_not_all_failed(study: SweepStudy) -> None:
    records = [record for record in study.records() if record.state in ("complete", "pruned", "failed")]
    if len(records) >= min(MAX_FAILED, study.total) and all(record.state == "failed" for record in records):
        raise DarkCovidError(f"all {len(records)} trials failed, the first with: {records[0].reason}")
