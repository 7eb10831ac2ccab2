"""Everything that one arm's predictions say: metrics with intervals, calibration, operating points and subgroups."""

from dataclasses import replace

import numpy as np
import pandas as pd

from darkcovid.data.cohort import UNSCORED, Cohort
from darkcovid.evaluation.external import ScoredSet, performance_drop
from darkcovid.evaluation.results import (
    ArmMetrics,
    AveragedMetrics,
    Calibration,
    ClassCount,
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
from darkcovid.metrics.cross_fitting import patient_parts
from darkcovid.metrics.metrics_with_intervals import field_values, metrics_with_intervals
from darkcovid.metrics.thresholds import OperatingPoint, cross_fitted_points, operating_point

EXTERNAL, SOURCE = "external:", "source:"


def evaluate(predictions: pd.DataFrame, classes: list[str]) -> ArmMetrics:
    """The metrics of every set of a classifier's images.

    The temperature and the thresholds are fitted to the validation set; what they do there is judged by cross-fitting over
    patients.
    The performance drop to an external set is from the test set, or from the validation set where there is no test set.

    Args:
        predictions: A row per image, or per image and fit, with patient, side (the set), label, sex, view, age and
            `probability_<class>`, `fit` where there are several, and `source` where the test set is of sources held out; the set
            of external images is `external:<name>`.
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
    cooled = {side: apply_temperature(of.probabilities, temperature) for side, of in sets.items()}
    cooled["valid"] = cross_fitted(valid.labels, valid.probabilities, parts)
    metrics = {
        side: _set_metrics(
            table,
            sets[side],
            classes,
            _calibration(sets[side], cooled[side], temperature, side),
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


def _calibration(scored: ScoredSet, cooled: np.ndarray, temperature: float, side: str) -> Calibration:
    return Calibration(
        bins=reliability(scored.labels, scored.probabilities),
        temperature=temperature,
        fitted_on="valid",
        judged_by="cross-fitting over patients" if side == "valid" else "images that it was not fitted to",
        ece_after=expected_calibration_error(scored.labels, cooled),
        log_loss_after=negative_log_likelihood(scored.labels, cooled),
    )
