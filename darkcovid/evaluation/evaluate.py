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
from darkcovid.metrics.thresholds import OperatingPoint, cross_fitted_points, operating_point, operating_points

EXTERNAL, SOURCE = "external:", "source:"
CROSS_FITTED, UNSEEN = "cross-fitting over patients", "images that it was not fitted to"
OTHER_SOURCES = "the other sources held out"


def evaluate(predictions: pd.DataFrame, classes: list[str]) -> ArmMetrics:
    """The metrics of every set of a classifier's images.

    The temperature and the thresholds are fitted to the validation set; what they do there is judged by cross-fitting over
    patients. Where several sources were held out in turn, those for a source are fitted to the others.
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
    tables = {str(side): table for side, table in predictions.groupby("side") if side not in UNSCORED}
    if "source" in predictions and "test" in tables:
        tables |= {f"{SOURCE}{name}": table for name, table in tables["test"].groupby("source")}
    sets = {side: _scored(table, classes) for side, table in tables.items()}
    decisions = _decisions(tables, sets, classes)
    metrics = {side: _set_metrics(table, sets[side], classes, decisions[side]) for side, table in tables.items()}
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


@dataclass(frozen=True)
class _Decisions:
    """What was fitted to some predictions, and what it does to those of a set.

    Attributes:
        temperature: By which logits are divided.
        cooled: (n, classes) float, the set's probabilities with it.
        points: Operating points by class.
        thresholds: Of each class, the lowest probability with which it is in an image's set of classes.
        class_sets: (n, classes) bool.
        fitted_on: Which predictions.
        judged_by: On which images the rest is measured.
    """

    temperature: float
    cooled: np.ndarray
    points: dict[str, list[OperatingPoint]]
    thresholds: list[float]
    class_sets: np.ndarray
    fitted_on: str = "valid"
    judged_by: str = UNSEEN


def _decisions(tables: dict[str, pd.DataFrame], sets: dict[str, ScoredSet], classes: list[str]) -> dict[str, _Decisions]:
    """By side: fitted to the validation set; where several sources were held out in turn, for images from elsewhere to the
    predictions of the other sources by fits that had not seen them, patients apart."""
    valid, fitted_on = sets["valid"], "valid"
    parts = patient_parts(valid.labels, valid.patients)
    found = {"valid": replace(_cross_fitted(valid, parts, classes), judged_by=CROSS_FITTED)}
    fitted, sources = valid, [side for side in sets if side.startswith(SOURCE)]
    if len(sources) > 1:
        fitted, fitted_on = sets["test"], "test"
        names, patients = tables["test"].source, tables["test"].patient
        others = {"fitted_on": OTHER_SOURCES, "judged_by": "that source"}
        found["test"] = replace(_cross_fitted(fitted, names.factorize()[0], classes), **others)
        for side in sources:
            apart = ~patients.isin(set(patients[names == side.removeprefix(SOURCE)])).to_numpy()
            found[side] = replace(_applied(sets[side], fitted.take(apart), classes), **others)
    rest = [side for side in sets if side not in found]
    return found | {side: replace(_applied(sets[side], fitted, classes), fitted_on=fitted_on) for side in rest}


def _cross_fitted(scored: ScoredSet, parts: np.ndarray, classes: list[str]) -> _Decisions:
    """Fitted to a set, each part of it judged by what was fitted to the others. parts: (n,) int."""
    labels, probabilities, patients = scored.labels, scored.probabilities, codes_of(scored.patients, len(scored.labels))
    return _Decisions(
        fit_temperature(labels, probabilities),
        cross_fitted(labels, probabilities, parts, patients),
        {name: cross_fitted_points(labels == code, probabilities[:, code], parts, patients) for code, name in enumerate(classes)},
        conformal_thresholds(labels, probabilities, patients),
        cross_fitted_sets(labels, probabilities, patients, parts),
    )


def _applied(scored: ScoredSet, fitted: ScoredSet, classes: list[str]) -> _Decisions:
    """Fitted to the images of one set, and judged on another's."""
    temperature = fit_temperature(fitted.labels, fitted.probabilities)
    thresholds = conformal_thresholds(fitted.labels, fitted.probabilities, fitted.patients)
    return _Decisions(
        temperature,
        apply_temperature(scored.probabilities, temperature),
        {name: _points(scored, fitted, code) for code, name in enumerate(classes)},
        thresholds,
        conformal_sets(scored.probabilities, thresholds),
    )


def _points(scored: ScoredSet, fitted: ScoredSet, code: int) -> list[OperatingPoint]:
    """What thresholds of one set's images do to another's; nothing of a class that is all of it or none."""
    truth = scored.labels == code
    if not 0 < truth.sum() < len(truth):
        return []
    return [
        operating_point(truth, scored.probabilities[:, code], point.threshold, point.wanted_sensitivity)
        for point in operating_points(fitted.labels == code, fitted.probabilities[:, code])
    ]


def _set_metrics(table: pd.DataFrame, scored: ScoredSet, classes: list[str], decisions: _Decisions) -> SetMetrics:
    metrics = metrics_with_intervals(scored.labels, scored.probabilities, classes, scored.patients, scored.fits)
    counts = _counts(table, classes)
    return SetMetrics(
        **field_values(replace(metrics, per_class=_with_support(metrics.per_class, counts))),
        images_per_class=counts,
        predictions_per_image=len(table) / max(1, table.image.nunique()),
        calibration=_calibration(scored, decisions),
        operating_points=decisions.points,
        subgroups=subgroup_metrics(table, scored.right),
        subgroup_tests=subgroup_tests(table, scored.right),
        conformal=_conformal(table, scored, decisions, classes),
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


def _conformal(table: pd.DataFrame, scored: ScoredSet, decisions: _Decisions, classes: list[str]) -> ConformalMetrics:
    class_sets, best = decisions.class_sets, scored.probabilities.argmax(1)
    rows = np.arange(len(class_sets))
    held, sizes = class_sets[rows, scored.labels], class_sets.sum(1)
    unlike = _unlike(table)
    answered = (sizes == 1) & class_sets[rows, best] & ~(unlike == 1)
    return ConformalMetrics(
        level=LEVEL,
        thresholds=dict(zip(classes, decisions.thresholds, strict=True)),
        judged_by=decisions.judged_by,
        coverage=float(held.mean()),
        interval=accuracy(held, codes_of(scored.patients, len(held))).interval,
        per_class={
            name: float(held[scored.labels == code].mean()) if (scored.labels == code).any() else None
            for code, name in enumerate(classes)
        },
        set_sizes=[float((sizes == size).mean()) for size in range(len(classes) + 1)],
        unlike=None if np.isnan(unlike).all() else float(np.nanmean(unlike)),
        answered=float(answered.mean()),
        wrong_answers=float((answered & ~held).mean()),
        wrong_above_half=float((~scored.right & (scored.probabilities.max(1) >= 0.5)).mean()),
    )


def _unlike(table: pd.DataFrame) -> np.ndarray:
    """(n,) 1 where an image is unlike the training images or its lung mask is rejected, 0 where not, nan where unknown."""
    unlike = np.full(len(table), np.nan)
    if "ood_score" in table:
        scores = pd.to_numeric(table["ood_score"], errors="coerce").to_numpy()
        unlike = np.where(np.isnan(scores), np.nan, scores > 1)
    if "lungs_rejected" in table:
        unlike = np.where(table["lungs_rejected"].astype(str).isin(("1", "1.0", "True")), 1.0, unlike)
    return unlike


def _calibration(scored: ScoredSet, decisions: _Decisions) -> Calibration:
    return Calibration(
        bins=reliability(scored.labels, scored.probabilities),
        temperature=decisions.temperature,
        fitted_on=decisions.fitted_on,
        judged_by=decisions.judged_by,
        ece_after=expected_calibration_error(scored.labels, decisions.cooled),
        log_loss_after=negative_log_likelihood(scored.labels, decisions.cooled),
    )
