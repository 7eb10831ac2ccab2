"""One fit of an arm, from inputs to finished files: fit, score, write what it found and what it cost."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd

from darkcovid.audit.data_audit import normalizer_facts
from darkcovid.audit.gradcam import gradcam_lung_overlap
from darkcovid.audit.occlusion import PredictFn, occlusion_audit
from darkcovid.core.device import Device, get_device
from darkcovid.core.distributed import get_distributed
from darkcovid.core.io import save_png, write_json, write_text
from darkcovid.data.cohort import Cohort
from darkcovid.evaluation.evaluate import EXTERNAL, averaged_views, evaluate
from darkcovid.evaluation.lung_masks import score_lungs, score_table, summarize_masks
from darkcovid.evaluation.results import ArmMetrics, BadImage, FitSummary, MaskMetrics
from darkcovid.experiment.artifacts import (
    gradcam_gallery,
    prediction_table,
    rejected_mask_gallery,
    save_weights,
    timing,
    write_split,
)
from darkcovid.experiment.inputs import ArmInputs
from darkcovid.experiment.run_dir import RunDir
from darkcovid.lungs.unet import INPUT_SIZE, save_segmenter
from darkcovid.models.registry import parameter_counts
from darkcovid.recipe import Lungs, Recipe
from darkcovid.report.plots import plot_history, plot_predictions
from darkcovid.report.progress import Progress
from darkcovid.training.classifier import FittedClassifier, fit_classifier
from darkcovid.training.fit import FitResult
from darkcovid.training.history import History
from darkcovid.training.profiler import FitProfiler
from darkcovid.training.schedule import total_epochs
from darkcovid.training.segmenter import fit_segmenter

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class FitJob:
    """One fit of an arm: its name for a person, its recipe, its folder, and whether to say where its time went."""

    directory: RunDir
    name: str
    recipe: Recipe
    folder: Path
    profile: bool = False


def fit_one_classifier(job: FitJob, inputs: ArmInputs, cohort: Cohort, progress: Progress, resume: bool) -> None:
    """Fit one classifier and write its folder."""
    recipe, folder = job.recipe, job.folder
    folder.mkdir(parents=True, exist_ok=True)
    compute = get_device(recipe.training.device, recipe.training.precision)
    watch = FitProfiler(compute) if job.profile else None
    reasons = inputs.lungs.reasons if inputs.lungs else (None,) * len(cohort)
    if get_distributed().main:
        write_split(folder, cohort, reasons)
    if inputs.lungs and any(reasons) and get_distributed().main:
        save_png(rejected_mask_gallery(cohort, inputs.lungs), folder / "plots" / "untrusted_lungs.png")
    with progress.arm(job.name, inputs.size, total_epochs(recipe.training)) as show:
        result = fit_classifier(
            recipe,
            cohort.with_shuffled_labels(recipe.training.seed) if recipe.data.shuffle_labels else cohort,
            inputs.pixels,
            compute,
            checkpoint=folder / CHECKPOINT,
            resume=resume,
            on_epoch=_epoch_logger(job, show),
            watchers=watch.watchers if watch else (),
        )
    if not get_distributed().main:
        return
    predictions = pd.concat([prediction_table(cohort, result.probabilities), *_predict_external(job, inputs, result.judge)])
    metrics = evaluate(predictions, list(cohort.classes))
    metrics = replace(
        metrics,
        external={one.of.name: one.annotate(metrics.external[one.of.name]) for one in inputs.external},
        tta=averaged_views(cohort, result.averaged),
        normalizer=normalizer_facts(recipe.data.normalize, result.normalizer, inputs.pixels, cohort.train),
        untrusted_lungs=sum(reason is not None for reason in reasons),
    )
    network = result.fitted.learner.model
    save_weights(network, recipe, cohort, inputs.pixels, result.normalizer, folder / "weights.safetensors")
    write_text(folder / "predictions.csv", predictions.to_csv(index=False, float_format="%.9g"))
    plot_predictions(predictions, metrics, cohort.classes, folder / "plots")
    preparing = {"prepare_seconds": inputs.prepare_seconds, "segment_seconds": inputs.segment_seconds}
    metrics, seconds = _run_post_fit_audit(folder, inputs, result, cohort, compute, metrics)
    if watch:
        _write_profile(job, watch, preparing | seconds)
    cost = preparing | seconds | {"prepared_in_this_run": inputs.fresh}
    _write_results(folder, result.fitted, compute, cohort, inputs.size, cost, metrics)


def _run_post_fit_audit(
    folder: Path, inputs: ArmInputs, result: FittedClassifier, cohort: Cohort, compute: Device, metrics: ArmMetrics
) -> tuple[ArmMetrics, dict[str, float]]:
    """The metrics with what the network says without lungs and where it looks, and the seconds that finding it out took; as they
    are where the recipe did not ask."""
    if inputs.areas is None:
        return metrics, {}
    started, network = perf_counter(), result.fitted.learner.model
    shortcuts = occlusion_audit(result.judge, inputs.pixels, inputs.areas, cohort)
    found = gradcam_lung_overlap(network, result.normalizer, inputs.pixels, result.probabilities, inputs.areas, cohort, compute)
    write_text(folder / "attention.csv", found.table.to_csv(index=False, float_format="%.6f"))
    save_png(gradcam_gallery(found, inputs.pixels, cohort.classes), folder / "plots" / "gradcam.png")
    audited = replace(metrics, audited=True, shortcuts=shortcuts, attention=found.summary)
    return audited, {"audit_seconds": perf_counter() - started}


def _predict_external(job: FitJob, inputs: ArmInputs, judge: PredictFn) -> Iterator[pd.DataFrame]:
    """The predictions of each external set, whose side is named after it. Each look at one is logged."""
    for one in inputs.external:
        job.directory.event("external", arm=job.name, set=one.of.name)
        yield prediction_table(one.of.cohort, judge(one.pixels)).assign(side=EXTERNAL + one.of.name)


def fit_one_segmenter(job: FitJob, cohort: Cohort, cache_dir: Path, progress: Progress, resume: bool) -> None:
    """Fit one lung segmenter and write its folder."""
    recipe, folder = job.recipe, job.folder
    folder.mkdir(parents=True, exist_ok=True)
    compute = get_device(recipe.training.device, recipe.training.precision)
    watch = FitProfiler(compute) if job.profile else None
    write_split(folder, cohort, (None,) * len(cohort))
    with progress.arm(job.name, INPUT_SIZE, total_epochs(recipe.training)) as show:
        result = fit_segmenter(
            recipe,
            cohort,
            compute,
            cache_dir,
            checkpoint=folder / CHECKPOINT,
            resume=resume,
            on_epoch=_epoch_logger(job, show),
            watchers=watch.watchers if watch else (),
        )
    if watch:
        _write_profile(job, watch, {})
    save_segmenter(result.fitted.learner.model, result.normalizer, folder / "weights.safetensors")
    scores = score_lungs(result.predicted, result.reasons, result.truth, (recipe.lungs or Lungs()).margin)
    table = score_table(cohort.take(np.flatnonzero(cohort.valid)), scores)
    write_text(folder / "predictions.csv", table.to_csv(index=False, float_format="%.6f"))
    _write_results(folder, result.fitted, compute, cohort, INPUT_SIZE, {}, summarize_masks(scores))


def _write_profile(job: FitJob, watch: FitProfiler, beside: dict[str, float]) -> None:
    write_text(job.folder / "profile.txt", watch.page(f"{job.name}: where the time went", beside))
    if watch.trace.operators:
        watch.trace.write(job.folder / "trace.json.gz")


def _epoch_logger(job: FitJob, show):
    """What derives an epoch's files from the history: `history.csv`, and an event for each epoch that has none yet."""
    logged = job.directory.last_epoch(job.name)

    def on_epoch(history: History) -> None:
        nonlocal logged
        if not get_distributed().main:
            return
        write_text(job.folder / "history.csv", pd.DataFrame(history.rows).to_csv(index=False))
        new, logged = history.rows[logged:], len(history.rows)
        for row in new:
            job.directory.event("epoch", arm=job.name, **row)
        if new:
            show(history)

    return on_epoch


def _write_results(
    folder: Path,
    fitted: FitResult,
    compute: Device,
    cohort: Cohort,
    size: tuple[int, int],
    preparing: dict[str, Any],
    metrics: ArmMetrics | MaskMetrics,
) -> None:
    """Plots, `timing.json`, and last of all `metrics.json`, which marks the arm as finished."""
    plot_history(fitted.history, folder / "plots")
    write_json(folder / "timing.json", preparing | timing(fitted, compute, size))
    summary = FitSummary(
        classes=list(cohort.classes),
        images={side: int(where.sum()) for side, where in cohort.sides.items()},
        parameters=parameter_counts(fitted.learner.model)[0],
        excluded_by_label=cohort.excluded_by_label,
        merged_patient_ids=[list(spellings) for spellings in cohort.manifest.merged_patients],
        bad_images=len(cohort.bad),
        bad=[BadImage(bad.path, bad.reason) for bad in cohort.bad],
    )
    write_json(folder / "metrics.json", summary.as_dict() | metrics.as_dict())
    (folder / CHECKPOINT).unlink(missing_ok=True)
