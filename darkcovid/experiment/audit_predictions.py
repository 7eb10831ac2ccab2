"""Predictions of any framework as the evidence that a run of ours leaves: metrics, paired tests, what is known of the images."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from darkcovid.audits.checks import RunEvidence
from darkcovid.audits.subject import AuditSubject
from darkcovid.core.environment import current_environment
from darkcovid.core.errors import UsageError
from darkcovid.core.slow_progress import slow_step
from darkcovid.core.words import counted
from darkcovid.data.manifest import Manifest
from darkcovid.data.predictions.columns import SIDES
from darkcovid.data.predictions.find_images import UNKNOWN_SIDE
from darkcovid.data.predictions.options import PredictionOptions
from darkcovid.data.predictions.read import PredictionTable, join_predictions
from darkcovid.data.predictions.scored import Scored
from darkcovid.data.predictions.table import TextTable
from darkcovid.data.predictions.training_list import TrainingList
from darkcovid.data.splits import patient_groups
from darkcovid.evaluation.evaluate import evaluate
from darkcovid.evaluation.results import ArmCost, ArmMetrics, ClassifierArm, Comparison, FitSummary, SetMetrics
from darkcovid.experiment.audit_data import AuditedData, audit_images
from darkcovid.experiment.audit_pairs import FROM_SCORES, ArmPredictions, paired_arms
from darkcovid.metrics.classification import probability_columns

NO_COST = ArmCost(
    image_size=(0, 0),
    epochs=0,
    train_seconds=0.0,
    epoch_seconds=0.0,
    train_images_per_second=0.0,
    peak_host_bytes=0,
    peak_device_bytes=0,
)
PREDICTED = "predictions"  # what `ArmMetrics.scored_on` says of images that somebody else chose
NO_FOLDER = r"[^\w.-]+"


@dataclass(frozen=True, eq=False)
class ForeignAudit:
    """An audit of what was made elsewhere.

    Attributes:
        evidence: What is known of it.
        predictions: By arm, as `predictions.csv` has them.
        data: What is known of the images.
    """

    evidence: RunEvidence
    predictions: dict[str, pd.DataFrame]
    data: AuditedData


def audit_predictions(
    tables: Mapping[str, TextTable],
    manifest: Manifest,
    options: PredictionOptions,
    train: TrainingList | None = None,
    cache_dir: Path | None = None,
    rest_is_training: bool = False,
) -> ForeignAudit:
    """Audit predictions of a manifest's images.

    Args:
        tables: By a name for each.
        manifest: The images, with labels and, where they are known, patients, age, sex, view, source.
        options: How the tables are to be read.
        train: The images that were trained on; None: those that a column `side` or `split` of a table or of the manifest says.
        cache_dir: Where decoded images are kept; None: no image is looked at.
        rest_is_training: Whether images without a prediction were trained on.

    Returns:
        The audit.

    Raises:
        UsageError, DataError: As `join_predictions` does; or tables that are compared differ in their classes.
    """
    declared = _declared_sides(manifest.rows)
    arms: dict[str, ArmPredictions] = {}
    notes: dict[str, list[str]] = {}
    left_out: dict[str, dict[str, int]] = {}
    trained, scored_rows, labels_of = set(), {}, {}
    for name, table in tables.items():
        read = join_predictions(table, manifest.rows, options)
        trained |= set(read.trained.tolist())
        read, sides = _with_sides(read, declared)
        several = len(read.scored) > 1
        for part in read.scored:
            arm = f"{name}-{re.sub(NO_FOLDER, '_', part.name)}" if several else name
            arms[arm] = ArmPredictions(_table(manifest.rows, read.rows, sides, part), part.classes, read.labels_only, part.name)
            notes[arm], left_out[arm] = list(read.notes), read.left_out
        for row, side, label in zip(read.rows.tolist(), sides, _data_labels(read, manifest.rows), strict=True):
            scored_rows.setdefault(row, side)
            labels_of.setdefault(row, label)
    trained |= set(np.flatnonzero(declared == "train").tolist())
    if rest_is_training:
        trained |= set(range(len(manifest.rows))) - set(scored_rows)
    data = _audited(manifest, scored_rows, labels_of, sorted(trained - set(scored_rows)), train, cache_dir)
    general = [
        *(train.notes if train else ()),
        *data.notes,
        *_unpredicted(declared, {*scored_rows, *trained}, train, rest_is_training),
    ]
    if len({arm.group for arm in arms.values()}) > 1:
        general.append("metadata and statistics of the pixels are asked for the labels of the manifest, not for one finding")
    if general:
        notes["images"] = general
    subject = AuditSubject(" and ".join(tables), "predictions", {n: t.where for n, t in tables.items()}, notes, left_out)
    counts = _counts(scored_rows, len(train.rows) if train else len(trained - set(scored_rows)))
    return ForeignAudit(evidence_of(arms, counts, subject, data.audit), {name: arm.table for name, arm in arms.items()}, data)


def evidence_of(
    arms: Mapping[str, ArmPredictions], images: dict[str, int], subject: AuditSubject, audit, metrics: Mapping | None = None
) -> RunEvidence:
    """The evidence of scored arms.

    Args:
        arms: Their predictions.
        images: By set.
        subject: What they are of.
        audit: Of the images.
        metrics: By arm, where more is known than predictions say; None: nothing.

    Returns:
        Evidence, with paired tests of the first arm of each finding against the others.
    """
    first = next(iter(arms))
    classifiers = {
        name: ClassifierArm(
            FitSummary(
                classes=list(arm.classes),
                images=images,
                parameters=0,
                bad_images=0,
                excluded_by_label={
                    reason.removeprefix("labeled "): count for reason, count in subject.left_out.get(name, {}).items()
                },
            ),
            (metrics or {}).get(name) or arm_metrics(arm),
            NO_COST,
            speedup=None,
        )
        for name, arm in arms.items()
    }
    comparison = Comparison("", first, dict(classifiers), paired_arms(arms, subject))
    return RunEvidence({}, comparison, audit, current_environment(), subject)


def arm_metrics(arm: ArmPredictions) -> ArmMetrics:
    """Metrics of an arm's predictions; of labels alone, nothing that needs scores."""
    with slow_step("metrics and their intervals"):
        metrics = evaluate(arm.table, list(arm.classes))
    if not metrics.test:
        metrics = replace(metrics, scored_on=PREDICTED)
    if not arm.labels_only:
        return metrics
    test = metrics.test and _without_scores(metrics.test)
    return replace(metrics, valid=_without_scores(metrics.valid), test=test, labels_only=True)


def _without_scores(metrics: SetMetrics) -> SetMetrics:
    per_class = {name: replace(scores, roc_auc=None, average_precision=None) for name, scores in metrics.per_class.items()}
    intervals = {name: span for name, span in metrics.intervals.items() if not name.endswith(".roc_auc")}
    macro = metrics.macro | dict.fromkeys(FROM_SCORES)
    return replace(metrics, per_class=per_class, intervals=intervals, macro=macro, operating_points={}, conformal=None)


def _declared_sides(rows: pd.DataFrame) -> np.ndarray:
    """(n,) the manifest's own sets, unknown where it has no column `split` that says them."""
    texts = rows["split"].str.casefold() if "split" in rows else pd.Series([""] * len(rows))
    known = texts.map(SIDES)
    return np.full(len(rows), UNKNOWN_SIDE) if known.isna().any() else known.to_numpy(str)


def _with_sides(read: PredictionTable, declared: np.ndarray) -> tuple[PredictionTable, np.ndarray]:
    """The images that are scored and their sets: valid, or valid and test, without those that the manifest trained on."""
    sides = np.where(read.sides == UNKNOWN_SIDE, declared[read.rows], read.sides)
    trained = np.isin(sides, ("train", "left_out"))
    if trained.all():
        raise UsageError("the manifest's column split says that every predicted image was trained on, so none can be scored")
    if trained.any():
        kept = np.flatnonzero(~trained)
        note = f"{counted(int(trained.sum()), 'image')} of the training set by the manifest's column split: not scored"
        read = replace(read, rows=read.rows[kept], scored=[part.take(kept) for part in read.scored], notes=(*read.notes, note))
        sides = sides[kept]
    sides = np.where(sides == UNKNOWN_SIDE, "valid", sides).astype(object)
    return read, sides if (sides == "valid").any() else np.full(len(sides), "valid", object)


def _table(rows: pd.DataFrame, places: np.ndarray, sides: np.ndarray, part: Scored) -> pd.DataFrame:
    of_images = rows.iloc[places].reset_index(drop=True)
    table = pd.DataFrame(
        {
            "image": of_images.path,
            "patient": patient_groups(of_images),
            "side": sides,
            "label": part.labels,
            "predicted": np.array(part.classes, object)[part.probabilities.argmax(1)],
            **{name: of_images[name] for name in ("sex", "view", "age")},
        }
    )
    return table.join(pd.DataFrame(part.probabilities, columns=probability_columns(part.classes)))


def _data_labels(read: PredictionTable, rows: pd.DataFrame) -> Sequence[str]:
    """The classes by which images are audited: those that are scored, or, where findings stand alone, the manifest's labels."""
    return read.scored[0].labels.tolist() if len(read.scored) == 1 else rows.label.to_numpy()[read.rows].tolist()


def _audited(manifest: Manifest, scored: dict[int, str], labels: dict[int, str], trained, train: TrainingList | None, cache_dir):
    rows = manifest.rows
    order = sorted(scored)
    roots = [*manifest.roots, *([train.folder] if train else [])]
    if train is not None:
        others, listed = train.rows, train.listed
    else:
        others, listed = rows.iloc[trained].reset_index(drop=True), np.array(trained, int)
    known = [rows.label[row] if row >= 0 else "" for row in listed]
    classes = set(labels.values())
    trained_labels = [label if label in classes else "" for label in known]
    of_scored = rows.iloc[order].reset_index(drop=True)
    return audit_images(
        of_scored, [labels[row] for row in order], [scored[row] for row in order], others, roots, cache_dir, trained_labels
    )


def _unpredicted(declared: np.ndarray, scored: set[int], train: TrainingList | None, rest_is_training: bool) -> list[str]:
    if rest_is_training:
        return []
    listed = set() if train is None else set(train.listed.tolist())
    missing = sum(
        row not in scored and row not in listed for row in np.flatnonzero(np.isin(declared, ("valid", "test", UNKNOWN_SIDE)))
    )
    if not missing:
        return []
    if (declared == UNKNOWN_SIDE).all():
        return [f"{counted(missing, 'image')} of the manifest without a prediction: neither scored nor trained on"]
    return [f"{counted(missing, 'image')} that the manifest's column split holds out, without a prediction"]


def _counts(scored: dict[int, str], trained: int) -> dict[str, int]:
    sides = list(scored.values())
    counts = {"train": trained, "valid": sides.count("valid"), "test": sides.count("test")}
    return {name: count for name, count in counts.items() if count}
