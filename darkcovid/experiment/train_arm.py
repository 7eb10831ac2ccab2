"""One fit of an arm, from inputs to finished files. What differs between a classifier and a lung segmenter is an `ArmTask`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from torch import nn

from darkcovid.core.device import Device, get_device
from darkcovid.core.io import write_json, write_text
from darkcovid.core.slow_progress import slow_step
from darkcovid.data.cohort import LEFT_OUT, Cohort
from darkcovid.data.resize import Size
from darkcovid.evaluation.results import ArmCost, ArmMetrics, BadImage, FitSummary, MaskMetrics
from darkcovid.experiment.run_dir import RunDir
from darkcovid.models.registry import parameter_counts
from darkcovid.models.weights import initial_weights
from darkcovid.recipe import Recipe
from darkcovid.report.plots import plot_history
from darkcovid.report.progress import Progress
from darkcovid.training.fit import FitOptions, FitResult
from darkcovid.training.history import History
from darkcovid.training.profiler import FitProfiler
from darkcovid.training.schedule import total_epochs

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class FitJob:
    """One fit of an arm.

    Attributes:
        directory: The run's.
        name: For a person, `arm` or `arm/fold1-seed7`.
        recipe: Of this fit alone.
        folder: Where its files go.
        profile: Whether to leave a `profile.txt` of where its time went.
        first: Whether it is the first of the arm's fits, of which a few images are explained by every method.
    """

    directory: RunDir
    name: str
    recipe: Recipe
    folder: Path
    profile: bool = False
    first: bool = True


@dataclass(frozen=True)
class ScoredFit:
    """What is known of a fit once its predictions are scored.

    Attributes:
        fitted: The learner, its history and its cost.
        metrics: Of its predictions.
        prepare_seconds: Of decoding and cropping.
        segment_seconds: Of segmenting the lungs.
        audit_seconds: Of the shortcut audit.
        prepared_in_this_run: Whether inputs were made for this fit, not read from the cache.
    """

    fitted: FitResult
    metrics: ArmMetrics | MaskMetrics
    prepare_seconds: float | None = None
    segment_seconds: float | None = None
    audit_seconds: float | None = None
    prepared_in_this_run: bool | None = None

    @property
    def stages(self) -> dict[str, float]:
        """Seconds of what took time beside training, by stage."""
        known = {"prepare": self.prepare_seconds, "segment": self.segment_seconds, "audit": self.audit_seconds}
        return {name: seconds for name, seconds in known.items() if seconds is not None}


class ArmTask(Protocol):
    """What an arm trains, and how that is scored."""

    @property
    def cohort(self) -> Cohort:
        """Its images."""
        ...

    @property
    def size(self) -> Size:
        """(height, width) of the network's input in pixels."""
        ...

    def write_inputs(self, job: FitJob) -> None:
        """Write what is known before training: the split and what was excluded."""
        ...

    def fit(self, job: FitJob, compute: Device, options: FitOptions) -> Any:
        """Train, and predict.

        Args:
            job: Which fit.
            compute: Device and precision.
            options: Checkpoint, resuming and callbacks.

        Returns:
            What `score` takes.
        """
        ...

    def score(self, job: FitJob, compute: Device, result: Any) -> ScoredFit:
        """Score what `fit` returned, and write predictions, weights and plots.

        Args:
            job: Which fit.
            compute: Device and precision.
            result: What `fit` returned.

        Returns:
            Metrics, and what else took time.
        """
        ...


def train_arm(job: FitJob, task: ArmTask, progress: Progress, resume: bool) -> None:
    """Fit, score, and write the fit's folder. Of several processes, the main one scores and writes.

    Args:
        job: Which fit.
        task: What is trained.
        progress: Shown each epoch.
        resume: Whether to continue from the folder's checkpoint.

    Raises:
        DarkCovidError, DataError, UsageError, KeyboardInterrupt: As `training.fit.fit` does.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    compute = get_device(job.recipe.training.device, job.recipe.training.precision)
    profiler = FitProfiler(compute) if job.profile else None
    if compute.distributed.is_main:
        task.write_inputs(job)
    with progress.arm(job.name, task.size, total_epochs(job.recipe)) as show:
        options = FitOptions(
            checkpoint=job.folder / CHECKPOINT,
            resume=resume,
            on_epoch=_epoch_logger(job, show) if compute.distributed.is_main else lambda history: None,
            callbacks=profiler.callbacks if profiler else (),
        )
        result = task.fit(job, compute, options)
    if not compute.distributed.is_main:
        return
    with slow_step(f"{job.name}: metrics and audits"):
        scored = task.score(job, compute, result)
        if profiler:
            _write_profile(job, profiler, scored.stages)
        _write_results(job.folder, task, scored, compute)


def _epoch_logger(job: FitJob, show: Callable[[History], None]) -> Callable[[History], None]:
    """What derives an epoch's files from the history: `history.csv`, and an event for each epoch that has none yet."""
    logged = job.directory.last_epoch(job.name)

    def on_epoch(history: History) -> None:
        nonlocal logged
        write_text(job.folder / "history.csv", pd.DataFrame(history.rows).to_csv(index=False))
        new, logged = history.rows[logged:], len(history.rows)
        for row in new:
            job.directory.event("epoch", arm=job.name, **row)
        if new:
            show(history)

    return on_epoch


def _write_profile(job: FitJob, profiler: FitProfiler, stages: dict[str, float]) -> None:
    write_text(job.folder / "profile.txt", profiler.page(f"{job.name}: where the time went", stages))
    if profiler.trace.operators:
        profiler.trace.write(job.folder / "trace.json.gz")


def _write_results(folder: Path, task: ArmTask, scored: ScoredFit, compute: Device) -> None:
    """Plots, `timing.json`, and last of all `metrics.json`, which marks the fit as finished."""
    cohort = task.cohort
    plot_history(scored.fitted.history, folder / "plots")
    write_json(folder / "timing.json", cost_of(scored, compute, task.size).as_dict())
    summary = summarize_fit(cohort, scored.fitted.learner.model)
    write_json(folder / "metrics.json", summary.as_dict() | scored.metrics.as_dict())
    (folder / CHECKPOINT).unlink(missing_ok=True)


def summarize_fit(cohort: Cohort, network: nn.Module) -> FitSummary:
    """What a fit was of.

    Args:
        cohort: Its images.
        network: What was fitted.

    Returns:
        The part of `metrics.json` that does not depend on predictions.
    """
    return FitSummary(
        classes=list(cohort.classes),
        images={name: int(rows.sum()) for name, rows in cohort.sides.items()},
        parameters=parameter_counts(network)[0],
        initial_weights=initial_weights(network),
        excluded_by_label=cohort.excluded_by_label,
        left_out_of_training=int((cohort.used_as == LEFT_OUT).sum()),
        merged_patient_ids=[list(spellings) for spellings in cohort.manifest.merged_patients],
        bad_images=len(cohort.bad),
        bad=[BadImage(bad.path, bad.reason) for bad in cohort.bad],
    )


def cost_of(scored: ScoredFit, compute: Device, size: Size) -> ArmCost:
    """What a fit cost.

    Args:
        scored: The fit.
        compute: Device and precision.
        size: (height, width) of the network's input in pixels.

    Returns:
        Its `timing.json`.
    """
    history, cost = scored.fitted.history, scored.fitted.cost
    training = history.total("data_seconds") + history.total("step_seconds")
    return ArmCost(
        image_size=size,
        epochs=len(history.rows),
        train_seconds=history.total("seconds"),
        epoch_seconds=float(np.median([row["seconds"] for row in history.rows])),
        train_images_per_second=history.total("train_images") / training,
        peak_host_bytes=cost.peak_host_bytes,
        peak_device_bytes=cost.peak_device_bytes,
        host_joules=cost.host_joules,
        device_joules=cost.device_joules,
        device=compute.device.type,
        precision=compute.precision,
        data_wait_seconds=history.total("data_seconds"),
        forward_backward_seconds=history.total("step_seconds"),
        validation_seconds=history.total("valid_seconds"),
        prepare_seconds=scored.prepare_seconds,
        segment_seconds=scored.segment_seconds,
        audit_seconds=scored.audit_seconds,
        prepared_in_this_run=scored.prepared_in_this_run,
    )
