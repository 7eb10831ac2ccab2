"""A model that was made elsewhere as the evidence that a run of ours leaves: its answers to the manifest's images, and to the
same images with parts hidden."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from darkcovid.audits.gradcam import GradCamResult
from darkcovid.audits.occlusion import occlusion_metrics, occlusion_predictions
from darkcovid.audits.occlusion_maps import DeletionCurves, deletion_curves, examples, occlusion_lung_overlap, occlusion_maps
from darkcovid.audits.source_separability import source_separability
from darkcovid.audits.subject import AuditSubject
from darkcovid.core.array_cache import StoredArray
from darkcovid.core.device import Device
from darkcovid.core.errors import UsageError
from darkcovid.core.io import save_png
from darkcovid.core.slow_progress import slow_step
from darkcovid.core.words import counted
from darkcovid.data.check_files import validate_files
from darkcovid.data.cohort import Cohort
from darkcovid.data.manifest import Manifest
from darkcovid.data.predictions.columns import SIDES
from darkcovid.data.predictions.options import PredictionOptions
from darkcovid.data.predictions.table import table_of_frame
from darkcovid.data.predictions.training_list import TrainingList
from darkcovid.evaluation.results import SourceSeparability
from darkcovid.experiment.artifacts import gradcam_gallery
from darkcovid.experiment.audit_predictions import ForeignAudit, audit_predictions
from darkcovid.experiment.model_answers import (
    all_classes,
    answers_of,
    ask_for_scores,
    check_asked_again,
    kind_of_outputs,
    output_names,
    outputs_of_classes,
)
from darkcovid.experiment.model_gradients import MAPS, DrawMaps, MapKind, gradient_maps_of
from darkcovid.experiment.model_inputs import ModelInputs, hiding_gray
from darkcovid.inference.foreign.client import ForeignModel
from darkcovid.inference.foreign.inputs import InputPolicy
from darkcovid.lungs.crop import LungRegions
from darkcovid.metrics.classification import probability_columns
from darkcovid.report.plots import plot_deletion

LOGIT_FLOOR = 1e-6

Progress = Callable[[str], None]
ScoreFiles = Callable[[Sequence[Path]], np.ndarray]  # (n) files to (n, k) scores
Explain = Callable[[StoredArray, np.ndarray, LungRegions, Cohort, Device], GradCamResult]  # as `gradcam_lung_overlap` asks


@dataclass(frozen=True, eq=False)
class ArmPictures:
    """What is drawn of an arm: maps of some images, deletion curves, those images, (m, ...) uint8, and what made the maps."""

    maps: GradCamResult
    curves: DeletionCurves
    pixels: np.ndarray
    kind: MapKind = "occlusion"


@dataclass(frozen=True, eq=False)
class ModelAudit:
    """An audit of a model.

    Attributes:
        audit: What was found.
        pictures: By arm.
        views: By arm, the predictions of images with parts hidden.
    """

    audit: ForeignAudit
    pictures: dict[str, ArmPictures]
    views: dict[str, pd.DataFrame]


def audit_model(
    model: ForeignModel,
    name: str,
    policy: InputPolicy,
    manifest: Manifest,
    options: PredictionOptions,
    compute: Device,
    cache_dir: Path,
    train: TrainingList | None = None,
    controls: bool = True,
    say: Progress = lambda line: None,
    score_files: ScoreFiles | None = None,
    explain: Explain | None = None,
) -> ModelAudit:
    """Ask a model about a manifest's images, and audit what it answers.

    Args:
        model: Which answers batches.
        name: For a person.
        policy: Its input.
        manifest: The images, with labels.
        options: What its outputs mean: class names, scores, positive.
        compute: Device of the lung U-Net.
        cache_dir: Where decoded images and masks are kept.
        train: The images that it was trained on, which are not scored.
        controls: Whether parts of the images are hidden.
        say: Called with a line as each stage begins.
        score_files: Asks a model that reads files by itself; None: it gets pixels.
        explain: Draws maps where there are gradients; None: by hiding patches.

    Returns:
        The audit.

    Raises:
        UsageError: It is not plain what its outputs mean.
        DataError: Images are missing, or the model fails.
    """
    scored, trained, left_out = _rows(manifest, options, train)
    checks = validate_files(Manifest(scored, manifest.roots), cache_dir)
    inputs = ModelInputs.of(scored, checks, policy, compute, cache_dir)
    bad = len(scored) - len(inputs.cohort)
    left_out |= {"without a usable image file": bad} if bad else {}
    say(f"asking the model about {counted(len(inputs.cohort), 'image')}")
    with slow_step("the model answers"):
        scores = ask_for_scores(model, policy, inputs.pixels) if score_files is None else score_files(inputs.cohort.files)
    columns = output_names(policy, scores)
    options = replace(
        options, scores=kind_of_outputs(scores, columns, options, name), columns=all_classes(policy, columns, options)
    )
    table = pd.DataFrame(scores, columns=columns).assign(image=inputs.cohort.rows.path.to_numpy())
    audit = audit_predictions({name: table_of_frame(table, name)}, manifest, options, train, cache_dir)
    evidence, subject = audit.evidence, audit.evidence.subject
    assert subject is not None
    gray = hiding_gray(trained, manifest, policy, inputs, compute, cache_dir) if controls else 0
    arms, pictures, views, told = {}, {}, {}, {}
    for arm, classifier in evidence.arms.items():
        of_arm, classes = audit.predictions[arm], classifier.summary.classes
        metrics = replace(classifier.metrics, source_separability=_separability(of_arm, inputs.cohort.rows, classes))
        if controls:
            say(f"{arm}: hiding parts of the images")
            seen = inputs.labeled(of_arm, classes)
            answer = answers_of(model, policy, columns, options, classes)
            views[arm] = occlusion_predictions(answer, seen.pixels, seen.regions, seen.cohort, gray)
            if score_files is None:
                check_asked_again(views[arm], of_arm, classes, model.source)
            probabilities = of_arm[probability_columns(classes)].to_numpy(float)
            draw = gradient_maps_of(model, policy, outputs_of_classes(columns, options, classes), gray)
            pictures[arm] = _pictures(answer, seen, probabilities, gray, compute, explain, draw)
            metrics = replace(
                metrics,
                audited=True,
                shortcuts=occlusion_metrics(views[arm], classes),
                attention=pictures[arm].maps.summary,
                untrusted_lungs=int((~seen.regions.trusted).sum()),
            )
        arms[arm] = replace(classifier, metrics=metrics)
        told[arm] = _told(metrics.source_separability, pictures.get(arm))
    notes = {
        arm: [policy.describe(), *_undone(policy), *said, *told[arm]] if arm in arms else said
        for arm, said in subject.notes.items()
    }
    subject = AuditSubject(
        subject.name,
        "model",
        dict.fromkeys(arms, model.source),
        notes,
        {arm: {**subject.left_out.get(arm, {}), **left_out} for arm in arms},
    )
    comparison = replace(evidence.comparison, arms=dict(arms))
    evidence = replace(evidence, comparison=comparison, subject=subject)
    return ModelAudit(replace(audit, evidence=evidence), pictures, views)


def _pictures(
    answer,
    seen: ModelInputs,
    probabilities: np.ndarray,
    gray: int,
    compute: Device,
    explain: Explain | None,
    draw: DrawMaps,
) -> ArmPictures:
    """Maps of some images and what they are worth, by gradients where there are any."""
    if explain is None:
        kinds: list[MapKind] = []

        def drawn(pixels: np.ndarray, targets: np.ndarray) -> np.ndarray:
            found = draw(pixels, targets)
            kinds.append("occlusion" if found is None else found[1])
            return occlusion_maps(answer, pixels, targets, gray) if found is None else found[0]

        maps, curves = occlusion_lung_overlap(answer, seen.pixels, probabilities, seen.regions, seen.cohort, gray, drawn)
        shown = np.array(seen.pixels[maps.rows])
        return ArmPictures(replace(maps, rows=np.arange(len(shown))), curves, shown, kinds[0])
    maps = explain(seen.pixels, probabilities, seen.regions, seen.cohort, compute)
    shown = np.array(seen.pixels[maps.rows])
    some = examples(probabilities[maps.rows], seen.cohort.labels[maps.rows])
    curves = deletion_curves(answer, shown[some], maps.maps[some], probabilities[maps.rows[some]].argmax(1), gray)
    return ArmPictures(replace(maps, rows=np.arange(len(shown))), curves, shown, "gradcam")


def _rows(manifest: Manifest, options: PredictionOptions, train: TrainingList | None):
    """The labeled images that the model was not trained on, those that it was, and what is left out, by reason."""
    rows = manifest.rows
    declared = rows["split"].str.casefold().map(SIDES) if "split" in rows else pd.Series([None] * len(rows))
    trained = (declared == "train").to_numpy() if declared.notna().all() else np.zeros(len(rows), bool)
    if train is not None:
        trained = np.zeros(len(rows), bool)
        trained[train.listed[train.listed >= 0]] = True
    kept = (rows.label != "").to_numpy() & ~rows.label.isin(options.leave_out).to_numpy() & ~trained
    if declared.notna().all():
        kept &= declared.isin(("valid", "test")).to_numpy() | (train is not None)
    if not kept.any():
        raise UsageError("no image of the manifest is left to be scored: each is without a label, left out, or trained on")
    unlabeled = int((rows.label == "").sum())
    left_out = {"without a label": unlabeled} if unlabeled else {}
    left_out |= {f"labeled {name}": count for name in options.leave_out if (count := int((rows.label == name).sum()))}
    return rows[kept].reset_index(drop=True), rows[trained].reset_index(drop=True), left_out


def _separability(table: pd.DataFrame, rows: pd.DataFrame, classes: Sequence[str]) -> SourceSeparability | None:
    """Whether the answers tell where an image comes from, among images of one class: their logarithms as features."""
    by_path = rows.drop_duplicates("path").set_index("path")
    sources = by_path.source.reindex(table.image).to_numpy()
    if len(set(sources)) < 2:
        return None
    answers = np.log(np.clip(table[probability_columns(classes)].to_numpy(float), LOGIT_FLOOR, 1))
    return source_separability(answers, table.label.to_numpy(), sources, table.patient.to_numpy())


def _told(found: SourceSeparability | None, pictures: ArmPictures | None) -> list[str]:
    maps = [] if pictures is None else [f"maps of {counted(len(pictures.pixels), 'image')}: {MAPS[pictures.kind]}"]
    if found is None:
        return maps
    return [
        *maps,
        f"within a class, the answers tell the source with a balanced accuracy of {found.balanced_accuracy:.3f} "
        f"(chance {found.chance:.3f})",
    ]


def _undone(policy: InputPolicy) -> list[str]:
    if not policy.temperature:
        return []
    return [f"the file divides logits by {policy.temperature:.3f}, fitted in its run: undone, as runs score the network itself"]


def write_pictures(folder: Path, pictures: ArmPictures, classes: Sequence[str], images: bool) -> None:
    """Write `deletion.png` and, where radiographs are shown, `occlusion.png`, `gradcam.png` or `gradients.png`.

    Args:
        folder: Of plots.
        pictures: Of an arm.
        classes: In the order of the probabilities.
        images: Whether radiographs are shown.
    """
    curves = pictures.curves
    named = {"the map's most important first": curves.by_map, "in any order": curves.at_random}
    plot_deletion(curves.hidden, named, folder / "deletion.png")
    if images:
        save_png(gradcam_gallery(pictures.maps, pictures.pixels, classes), folder / f"{pictures.kind}.png")
