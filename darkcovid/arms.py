"""One fit of an arm, from inputs to finished files: fit, score, write what it found and what it cost."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from darkcovid.compute import Compute, pick_compute
from darkcovid.data.cohort import Cohort
from darkcovid.data.decode import open_grayscale
from darkcovid.data.normalise import described
from darkcovid.data.pixels import save_png
from darkcovid.evaluation.evaluate import EXTERNAL, evaluate
from darkcovid.evaluation.lungs import score_lungs, score_table, summarise
from darkcovid.inputs import ArmInputs
from darkcovid.lungs.segment import LungMasks
from darkcovid.lungs.unet import INPUT_SIZE, save_segmenter
from darkcovid.models.registry import parameter_counts
from darkcovid.paths import atomic_path, write_json, write_text
from darkcovid.recipe import Lungs, Recipe
from darkcovid.report.overlays import UNTRUSTED, gallery, heat_overlay, lung_overlay
from darkcovid.report.plots import plot_history, plot_predictions
from darkcovid.report.progress import Progress
from darkcovid.rundir import RunDir
from darkcovid.training.attention import Attention, attend
from darkcovid.training.callbacks import History
from darkcovid.training.classify import fit_classifier
from darkcovid.training.fit import Fitted
from darkcovid.training.lungs import fit_segmenter
from darkcovid.training.profile import Profile
from darkcovid.training.schedule import total_epochs
from darkcovid.training.shortcuts import Judge, judge_shortcuts

CHECKPOINT = "checkpoint.safetensors"
GALLERY = 12
SUREST = 2


@dataclass(frozen=True)
class Job:
    """One fit of an arm: its name for a person, its recipe, its folder, and whether to say where its time went."""

    directory: RunDir
    name: str
    recipe: Recipe
    folder: Path
    profile: bool = False


def fit_one_classifier(job: Job, inputs: ArmInputs, cohort: Cohort, progress: Progress, resume: bool) -> None:
    """Fit one classifier and write its folder."""
    recipe, folder = job.recipe, job.folder
    folder.mkdir(parents=True, exist_ok=True)
    compute = pick_compute(recipe.training.device, recipe.training.precision)
    watch = Profile(compute) if job.profile else None
    reasons = inputs.lungs.reasons if inputs.lungs else (None,) * len(cohort)
    write_split(folder, cohort, reasons)
    if any(reasons):
        save_png(untrusted_gallery(cohort, inputs.lungs), folder / "plots" / "untrusted_lungs.png")
    with progress.arm(job.name, inputs.size, total_epochs(recipe.training)) as show:
        result = fit_classifier(
            recipe,
            cohort.with_shuffled_labels(recipe.training.seed) if recipe.data.shuffle_labels else cohort,
            inputs.pixels,
            compute,
            checkpoint=folder / CHECKPOINT,
            resume=resume,
            on_epoch=_each_epoch(job, show),
            watchers=watch.watchers if watch else (),
        )
    predictions = pd.concat([prediction_table(cohort, result.probabilities), *_external_tables(job, inputs, result.judge)])
    metrics = evaluate(predictions, list(cohort.classes))
    for one in inputs.external:
        metrics["external"][one.of.name] |= {
            "labels": one.of.translated,
            "left_out": one.of.left_out,
            "bad_images": len(one.of.cohort.bad),
            "untrusted_lungs": one.untrusted_lungs,
        }
    network = result.fitted.learner.model
    save_weights(network, recipe, cohort.classes, inputs.size, result.normaliser, folder / "weights.safetensors")
    write_text(folder / "predictions.csv", predictions.to_csv(index=False, float_format="%.6f"))
    plot_predictions(predictions, metrics, cohort.classes, folder / "plots")
    cost: dict[str, Any] = {
        "prepare_seconds": inputs.prepare_seconds,
        "segment_seconds": inputs.segment_seconds,
        "prepared_in_this_run": inputs.fresh,
    }
    counted: dict[str, Any] = {"untrusted_lungs": sum(reason is not None for reason in reasons)}
    if inputs.areas is not None:
        started = perf_counter()
        counted["shortcuts"] = judge_shortcuts(result.judge, inputs.pixels, inputs.areas, cohort)
        found = attend(network, result.normaliser, inputs.pixels, result.probabilities, inputs.areas, cohort, compute)
        counted["attention"] = found.summary
        write_text(folder / "attention.csv", found.table.to_csv(index=False, float_format="%.6f"))
        save_png(attention_gallery(found, inputs.pixels, cohort.classes), folder / "plots" / "gradcam.png")
        cost["audit_seconds"] = perf_counter() - started
    if watch:
        beside = {"preparing the images": inputs.prepare_seconds, "finding the lungs": inputs.segment_seconds}
        beside |= {"audits of this arm": cost["audit_seconds"]} if "audit_seconds" in cost else {}
        _write_profile(job, watch, beside)
    _write_ending(folder, result.fitted, compute, cohort, inputs.size, cost, metrics | counted)


def _external_tables(job: Job, inputs: ArmInputs, judge: Judge) -> Iterator[pd.DataFrame]:
    """The predictions of each external set, whose side is named after it. Each look at one is logged."""
    for one in inputs.external:
        job.directory.event("external", arm=job.name, set=one.of.name)
        yield prediction_table(one.of.cohort, judge(one.pixels)).assign(side=EXTERNAL + one.of.name)


def fit_one_segmenter(job: Job, cohort: Cohort, cache_dir: Path, progress: Progress, resume: bool) -> None:
    """Fit one lung segmenter and write its folder."""
    recipe, folder = job.recipe, job.folder
    folder.mkdir(parents=True, exist_ok=True)
    compute = pick_compute(recipe.training.device, recipe.training.precision)
    watch = Profile(compute) if job.profile else None
    write_split(folder, cohort, (None,) * len(cohort))
    with progress.arm(job.name, INPUT_SIZE, total_epochs(recipe.training)) as show:
        result = fit_segmenter(
            recipe,
            cohort,
            compute,
            cache_dir,
            checkpoint=folder / CHECKPOINT,
            resume=resume,
            on_epoch=_each_epoch(job, show),
            watchers=watch.watchers if watch else (),
        )
    if watch:
        _write_profile(job, watch, {})
    save_segmenter(result.fitted.learner.model, result.normaliser, folder / "weights.safetensors")
    scores = score_lungs(result.predicted, result.reasons, result.truth, (recipe.lungs or Lungs()).margin)
    table = score_table(cohort.take(np.flatnonzero(cohort.valid)), scores)
    write_text(folder / "predictions.csv", table.to_csv(index=False, float_format="%.6f"))
    metrics = {key: value for key, value in summarise(scores).items() if key != "images"}
    _write_ending(folder, result.fitted, compute, cohort, INPUT_SIZE, {}, metrics)


def _write_profile(job: Job, watch: Profile, beside: dict[str, float]) -> None:
    write_text(job.folder / "profile.txt", watch.page(f"{job.name}: where the time went", beside))
    if watch.trace.operators:
        watch.trace.write(job.folder / "trace.json.gz")


def untrusted_gallery(cohort: Cohort, found: LungMasks) -> Image.Image:
    """The first images whose lungs were not trusted, each over its name and the reason."""
    rows = np.flatnonzero(~found.trusted)[:GALLERY]
    pictures = [
        lung_overlay(open_grayscale(cohort.files[row]), [(found.masks[row].astype(bool), UNTRUSTED)], None) for row in rows
    ]
    captions = [f"{PurePosixPath(cohort.rows.path[row]).name}: {found.reasons[row]}" for row in rows]
    return gallery(pictures, captions)


def attention_gallery(found: Attention, pixels: np.ndarray, classes: Sequence[str]) -> Image.Image:
    """Of each class the surest right and the surest wrong answers, under what the network looked at."""
    table, chosen = found.table, []
    for name in classes:
        for right in (True, False):
            of_class = table[(table.label == name) & ((table.predicted == name) == right)]
            chosen += of_class.nlargest(SUREST, "confidence").index.tolist()
    pictures, captions = [], []
    for place in chosen:
        row = table.loc[place]
        seen = pixels[found.rows[place]]
        pictures.append(heat_overlay(seen if seen.ndim == 2 else seen[0], found.maps[place]))
        captions.append(f"{row.label} called {row.predicted} ({row.confidence:.2f})")
    return gallery(pictures, captions)


def write_split(folder: Path, cohort: Cohort, reasons: tuple[str | None, ...]) -> None:
    """`split.csv`: image, patient, label, side, and why its lung mask was not trusted ('' where it was)."""
    table = pd.DataFrame(
        {
            "image": cohort.rows.path,
            "patient": cohort.patients,
            "label": [cohort.classes[label] for label in cohort.labels],
            "side": cohort.side_names,
            "lungs_untrusted": [reason or "" for reason in reasons],
        }
    )
    write_text(folder / "split.csv", table.to_csv(index=False))


def prediction_table(cohort: Cohort, probabilities: np.ndarray) -> pd.DataFrame:
    """`predictions.csv`: image, patient, side, label, predicted, sex, view, age, and a probability column for each class."""
    table = pd.DataFrame(
        {
            "image": cohort.rows.path,
            "patient": cohort.patients,
            "side": cohort.side_names,
            "label": [cohort.classes[label] for label in cohort.labels],
            "predicted": [cohort.classes[index] for index in probabilities.argmax(1)],
            **{name: cohort.rows[name] for name in ("sex", "view", "age")},
        }
    )
    return table.assign(**{f"probability_{name}": probabilities[:, index] for index, name in enumerate(cohort.classes)})


def save_weights(
    network: nn.Module, recipe: Recipe, classes: tuple[str, ...], size: tuple[int, int], normaliser: nn.Module, path: Path
) -> None:
    """A classifier's float32 weights, and its normaliser's under `normaliser.`, with what is needed to rebuild and feed it
    in the file's metadata."""
    about = {
        "model": recipe.model.model_dump(mode="json"),
        "classes": classes,
        "image_size": size,
        "normalise": recipe.data.normalise,
        "normaliser": described(normaliser),
    }
    tensors = dict(network.state_dict())
    tensors |= {f"normaliser.{key}": value for key, value in normaliser.state_dict().items()}
    owned = {key: value.detach().cpu().clone().contiguous() for key, value in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(owned, temporary, metadata={"darkcovid": json.dumps(about)})


def _each_epoch(job: Job, show):
    def on_epoch(history: History) -> None:
        write_text(job.folder / "history.csv", pd.DataFrame(history.rows).to_csv(index=False))
        job.directory.event("epoch", arm=job.name, **history.rows[-1])
        show(history)

    return on_epoch


def _write_ending(
    folder: Path,
    fitted: Fitted,
    compute: Compute,
    cohort: Cohort,
    size: tuple[int, int],
    preparing: dict[str, Any],
    metrics: dict[str, Any],
) -> None:
    """Plots, `timing.json`, and last of all `metrics.json`, which marks the arm as finished."""
    plot_history(fitted.history, folder / "plots")
    write_json(folder / "timing.json", preparing | timing(fitted, compute, size))
    sides = {side: int(where.sum()) for side, where in cohort.sides.items()}
    common = {
        "classes": cohort.classes,
        "images": sides,
        "parameters": parameter_counts(fitted.learner.model)[0],
        "bad_images": len(cohort.bad),
        "bad": [{"image": bad.path, "reason": bad.reason} for bad in cohort.bad],
    }
    write_json(folder / "metrics.json", common | metrics)
    (folder / CHECKPOINT).unlink(missing_ok=True)


def timing(fitted: Fitted, compute: Compute, size: tuple[int, int]) -> dict[str, Any]:
    """Where an arm's training time went, in seconds over all epochs, and what else it cost. `train_seconds` counts
    training and validation; images a second count the training side only."""
    history = fitted.history
    training = history.total("data_seconds") + history.total("step_seconds")
    return {
        "image_size": list(size),
        "pixels_per_image": size[0] * size[1],
        "epochs": len(history.rows),
        "train_seconds": history.total("seconds"),
        "epoch_seconds": float(np.median([row["seconds"] for row in history.rows])),
        "data_wait_seconds": history.total("data_seconds"),
        "forward_backward_seconds": history.total("step_seconds"),
        "validation_seconds": history.total("valid_seconds"),
        "train_images_per_second": history.total("train_images") / training,
        "device": compute.device.type,
        "precision": compute.precision,
        **fitted.cost.as_dict(),
    }
