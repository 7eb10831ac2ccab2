"""Everything that one arm's predictions say: metrics with intervals, calibration, operating points and subgroups."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from darkcovid.data.cohort import UNSCORED, Cohort
from darkcovid.evaluation.external import ScoredSet, performance_drop
from darkcovid.evaluation.results import (
    ArmMetrics,
    AveragedMetrics,
    Calibration,
    ClassCount,
    ConformalMetrics,
    ExternalMetrics,
    SetMetrics,
)
from darkcovid.evaluation.subgroups import subgroup_metrics, subgroup_tests
from darkcovid.metrics.calibration import (
    apply_temperature,
    cross_fitted,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)
from darkcovid.metrics.classification import ClassMetrics, classification_metrics, probability_columns
from darkcovid.metrics.confidence_intervals import accuracy
from darkcovid.metrics.conformal import LEVEL, conformal_sets, conformal_thresholds, cross_fitted_sets
from darkcovid.metrics.cross_fitting import patient_parts
from darkcovid.metrics.metrics_with_intervals import codes_of, field_values, metrics_with_intervals
from darkcovid.metrics.thresholds import OperatingPoint, cross_fitted_points, operating_point

EXTERNAL, SOURCE = "external:", "source:"
CROSS_FITTED, UNSEEN = "cross-fitting over patients", "images that it was not fitted to"
OTHER_SOURCES = "thresholds of the other sources held out"


def evaluate(predictions: pd.DataFrame, classes: list[str]) -> ArmMetrics:
    """The metrics of every set of a classifier's images.

    The temperature and the thresholds are fitted to the validation set; what they do there is judged by cross-fitting over
    patients.
    The performance drop to an external set is from the test set, or from the validation set where there is no test set.

    Args:
        predictions: A row per image, or per image and fit, with patient, side (the set), label, sex, view, age and
            `probability_<class>`, `fit` where there are several, `source` where the test set is of sources held out, and
            `ood_score` where it is known how unlike the training images an image is; the set of external images is
            `external:<name>`.
        classes: Their names.

    Returns:
        Metrics of the validation set, of the test set where there is one, and of each source held out and each external set.
    """
    codes = {name: code for code, name in enumerate(classes)}
    tables = {str(side): table for side, table in predictions.groupby("side") if side not in UNSCORED}
    if "source" in predictions and "test" in tables:
        tables |= {f"{SOURCE}{name}": table for name, table in tables["test"].groupby("source")}
    sets = {side: _scored(table, classes) for side, table in tables.items()}
    valid = sets["valid"]
    parts = patient_parts(valid.labels, valid.patients)
    temperature = fit_temperature(valid.labels, valid.probabilities)
    points = {
        name: cross_fitted_points(valid.labels == code, valid.probabilities[:, code], parts) for name, code in codes.items()
    }
    class_sets = _class_sets(tables, sets, parts)
    cooled = {side: apply_temperature(of.probabilities, temperature) for side, of in sets.items()}
    cooled["valid"] = cross_fitted(valid.labels, valid.probabilities, parts)
    metrics = {
        side: _set_metrics(
            table,
            sets[side],
            classes,
            _calibration(sets[side], cooled[side], temperature, side),
            _conformal(table, sets[side], class_sets[side], classes),
            points if side == "valid" else _points(sets[side], points, codes),
        )
        for side, table in tables.items()
    }
    internal = "test" if "test" in metrics and "source" not in predictions else "valid"

    def outside(prefix: str) -> dict[str, ExternalMetrics]:
        return {
            side.removeprefix(prefix): ExternalMetrics(
                **field_values(metrics[side]),
                images=int(table.image.nunique()),
                patients=int(table.patient.nunique()),
                fall=performance_drop(_scored(_of_same_fits(tables[internal], table), classes), sets[side], classes),
            )
            for side, table in tables.items()
            if side.startswith(prefix)
        }

    return ArmMetrics(
        valid=metrics["valid"],
        scored_on="test" if "test" in metrics else "validation",
        test=metrics.get("test"),
        sources=outside(SOURCE),
        external=outside(EXTERNAL),
    )


def _of_same_fits(inside: pd.DataFrame, outside: pd.DataFrame) -> pd.DataFrame:
    """The internal predictions of the fits that made the external ones; all where those have none of their own."""
    if "fit" not in inside:
        return inside
    same = inside[inside.fit.isin(set(outside.fit))]
    return same if len(same) else inside


def averaged_views(cohort: Cohort, averaged: np.ndarray | None) -> dict[str, AveragedMetrics]:
    """Metrics by the mean over augmented views, which is what `training.tta_views` asks for and nothing else shows.

    Args:
        cohort: n images.
        averaged: (n, classes) float; None: none.

    Returns:
        Of the validation set, and of the test set where there is one.
    """
    if averaged is None:
        return {}
    sets = {
        side: classification_metrics(cohort.labels[where], averaged[where], cohort.classes)
        for side, where in cohort.sides.items()
        if side != "train"
    }
    return {
        side: AveragedMetrics(metrics.accuracy, metrics.balanced_accuracy, metrics.log_loss) for side, metrics in sets.items()
    }


def _set_metrics(
    table: pd.DataFrame,
    scored: ScoredSet,
    classes: list[str],
    calibration: Calibration,
    conformal: ConformalMetrics,
    points: dict[str, list[OperatingPoint]],
) -> SetMetrics:
    metrics = metrics_with_intervals(scored.labels, scored.probabilities, classes, scored.patients, scored.fits)
    counts = _counts(table, classes)
    return SetMetrics(
        **field_values(replace(metrics, per_class=_with_support(metrics.per_class, counts))),
        images_per_class=counts,
        predictions_per_image=len(table) / max(1, table.image.nunique()),
        calibration=calibration,
        operating_points=points,
        subgroups=subgroup_metrics(table, scored.right),
        subgroup_tests=subgroup_tests(table, scored.right),
        conformal=conformal,
    )


def _scored(table: pd.DataFrame, classes: list[str]) -> ScoredSet:
    codes = {name: code for code, name in enumerate(classes)}
    probabilities = table[probability_columns(classes)].to_numpy(float)
    fits = table.fit.to_numpy() if "fit" in table else None
    return ScoredSet(table.label.map(codes).to_numpy(int), probabilities, table.patient.to_numpy(), fits)


def _counts(table: pd.DataFrame, classes: list[str]) -> dict[str, ClassCount]:
    of_class = {name: table[table.label == name] for name in classes}
    return {name: ClassCount(int(rows.image.nunique()), int(rows.patient.nunique())) for name, rows in of_class.items()}


def _with_support(per_class: dict[str, ClassMetrics], counts: dict[str, ClassCount]) -> dict[str, ClassMetrics]:
    """Each class's support as its images, each counted once however many fits predicted it."""
    return {name: replace(scores, support=counts[name].images) for name, scores in per_class.items()}


def _points(scored: ScoredSet, points: dict[str, list[OperatingPoint]], codes: dict[str, int]) -> dict[str, list[OperatingPoint]]:
    """What the validation set's thresholds do to another set; nothing of a class that is all of it or none."""
    return {
        name: [
            operating_point(scored.labels == code, scored.probabilities[:, code], point.threshold, point.wanted_sensitivity)
            for point in points[name]
            if 0 < (scored.labels == code).sum() < len(scored.labels)
        ]
        for name, code in codes.items()
    }


@dataclass(frozen=True)
class _ClassSets:
    """Sets of classes of some images: (n, classes) bool, by which thresholds, and on which images those are judged."""

    held: np.ndarray
    thresholds: list[float]
    judged_by: str = UNSEEN


def _class_sets(tables: dict[str, pd.DataFrame], sets: dict[str, ScoredSet], parts: np.ndarray) -> dict[str, _ClassSets]:
    """By side. Thresholds are of the validation set; of several sources held out, those that are for new sources: of the
    predictions of the other sources by fits that had not seen them."""
    valid = sets["valid"]
    thresholds = _thresholds(valid)
    crossed = cross_fitted_sets(valid.labels, valid.probabilities, valid.patients, parts)
    found = {"valid": _ClassSets(crossed, thresholds, CROSS_FITTED)}
    sources = [side for side in sets if side.startswith(SOURCE)]
    if len(sources) > 1:
        thresholds = _thresholds(sets["test"])
        held = np.zeros(sets["test"].probabilities.shape, bool)
        for side in sources:
            rows = (tables["test"].source == side.removeprefix(SOURCE)).to_numpy()
            patients = tables["test"].patient
            others = _thresholds(sets["test"], ~patients.isin(set(patients[rows])).to_numpy())
            found[side] = _ClassSets(conformal_sets(sets[side].probabilities, others), others, OTHER_SOURCES)
            held[rows] = conformal_sets(sets["test"].probabilities[rows], others)
        found["test"] = _ClassSets(held, thresholds, OTHER_SOURCES)
    rest = [side for side in sets if side not in found]
    return found | {side: _ClassSets(conformal_sets(sets[side].probabilities, thresholds), thresholds) for side in rest}


def _thresholds(scored: ScoredSet, rows: np.ndarray | slice = slice(None)) -> list[float]:
    return conformal_thresholds(scored.labels[rows], scored.probabilities[rows], np.asarray(scored.patients)[rows])


def _conformal(table: pd.DataFrame, scored: ScoredSet, sets: _ClassSets, classes: list[str]) -> ConformalMetrics:
    held, sizes = sets.held[np.arange(len(sets.held)), scored.labels], sets.held.sum(1)
    known = pd.to_numeric(table["ood_score"], errors="coerce") if "ood_score" in table else pd.Series(np.nan, table.index)
    unlike = (known > 1).to_numpy()
    answered = (sizes == 1) & ~unlike
    patients = codes_of(scored.patients, len(held))
    return ConformalMetrics(
        level=LEVEL,
        thresholds=dict(zip(classes, sets.thresholds, strict=True)),
        judged_by=sets.judged_by,
        coverage=float(held.mean()),
        interval=accuracy(held, patients).interval,
        per_class={
            name: float(held[scored.labels == code].mean()) if (scored.labels == code).any() else None
            for code, name in enumerate(classes)
        },
        set_sizes=[float((sizes == size).mean()) for size in range(len(classes) + 1)],
        unlike=float(unlike.mean()) if known.notna().any() else None,
        answered=float(answered.mean()),
        wrong_answers=float((answered & ~held).mean()),
        wrong_above_half=float((~scored.right & (scored.probabilities.max(1) >= 0.5)).mean()),
    )


def _calibration(scored: ScoredSet, cooled: np.ndarray, temperature: float, side: str) -> Calibration:
    return Calibration(
        bins=reliability(scored.labels, scored.probabilities),
        temperature=temperature,
        fitted_on="valid",
        judged_by=CROSS_FITTED if side == "valid" else UNSEEN,
        ece_after=expected_calibration_error(scored.labels, cooled),
        log_loss_after=negative_log_likelihood(scored.labels, cooled),
    )
