"""Everything that one arm's predictions say: metrics with intervals, calibration, operating points and subgroups."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from darkcovid.evaluation.external import ScoredSet, performance_drop
from darkcovid.evaluation.subgroups import subgroup_metrics, subgroup_tests
from darkcovid.metrics.calibration import (
    apply_temperature,
    cross_fitted,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)
from darkcovid.metrics.classification import classification_metrics
from darkcovid.metrics.cross_fitting import patient_parts
from darkcovid.metrics.intervals import metrics_with_intervals
from darkcovid.metrics.thresholds import OperatingPoint, cross_fitted_points, operating_point

EXTERNAL = "external:"


def evaluate(predictions: pd.DataFrame, classes: list[str]) -> dict[str, Any]:
    """The metrics of the validation set; under `test`, the same of the test set where there is one; under `external`, of each set
    from elsewhere, with the `fall` to it from the test set, or the validation set where there is none. `scored_on` names the set
    that the headline comes from, see `headline`: the test set where there is one.

    predictions: a row per image, or per image and fit, with patient, side, label, sex, view, age and `probability_<class>`, and
    `fit` where there are several; the side of images from elsewhere is `external:<name>`. The temperature and the thresholds are
    fitted to the validation set; what they do there is judged by cross-fitting over patients.
    """
    codes = {name: code for code, name in enumerate(classes)}
    tables = {side: table for side, table in predictions.groupby("side") if side != "train"}
    sets = {side: _scored(table, classes) for side, table in tables.items()}
    valid = sets["valid"]
    parts = patient_parts(valid.labels, valid.patients)
    temperature = fit_temperature(valid.labels, valid.probabilities)
    points = {
        name: cross_fitted_points(valid.labels == code, valid.probabilities[:, code], parts) for name, code in codes.items()
    }
    cooled = {side: apply_temperature(of.probabilities, temperature) for side, of in sets.items()}
    cooled["valid"] = cross_fitted(valid.labels, valid.probabilities, parts)
    metrics = {}
    for side, table in tables.items():
        of = sets[side]
        metrics[side] = (
            metrics_with_intervals(of.labels, of.probabilities, classes, of.patients, of.fits)
            | _counted(table, classes)
            | {
                "calibration": _calibration(of, cooled[side], temperature, side),
                "operating_points": _points(of, points, codes, side),
                "subgroups": [asdict(group) for group in subgroup_metrics(table, of.right)],
                "subgroup_tests": subgroup_tests(table, of.right),
            }
        )
        for name, count in metrics[side]["images_per_class"].items():
            metrics[side]["per_class"][name]["support"] = count["images"]
    inside = "test" if "test" in metrics else "valid"
    external = {
        side.removeprefix(EXTERNAL): metrics.pop(side)
        | {
            "images": int(tables[side].image.nunique()),
            "patients": int(tables[side].patient.nunique()),
            "fall": performance_drop(sets[inside], sets[side], classes),
        }
        for side in list(metrics)
        if side.startswith(EXTERNAL)
    }
    on = {"scored_on": "test" if inside == "test" else "validation"}
    return metrics.pop("valid") | on | metrics | ({"external": external} if external else {})


def averaged_views(cohort: Any, averaged: np.ndarray | None) -> dict[str, Any]:
    """Under `tta`, accuracy, balanced_accuracy and log_loss of the validation set, and of the test set where there is one, by the
    mean over augmented views, which is what `training.tta_views` asks for and nothing else shows; nothing without.

    cohort: labels, classes and sides of the (n, classes) probabilities.
    """
    if averaged is None:
        return {}
    names = ("accuracy", "balanced_accuracy", "log_loss")
    sets = {
        side: classification_metrics(cohort.labels[where], averaged[where], cohort.classes).as_dict()
        for side, where in cohort.sides.items()
        if side != "train"
    }
    return {"tta": {side: {name: metrics[name] for name in names} for side, metrics in sets.items()}}


def headline(metrics: dict[str, Any]) -> dict[str, Any]:
    """An arm's metrics that a verdict rests on: the test set's where there is one, else those of the validation set or of all
    folds. What no set has metrics of its own for is the arm's."""
    return metrics | metrics.get("test", {})


def _scored(table: pd.DataFrame, classes: list[str]) -> ScoredSet:
    codes = {name: code for code, name in enumerate(classes)}
    probabilities = table[[f"probability_{name}" for name in classes]].to_numpy(float)
    fits = table.fit.to_numpy() if "fit" in table else None
    return ScoredSet(table.label.map(codes).to_numpy(int), probabilities, table.patient.to_numpy(), fits)


def _counted(table: pd.DataFrame, classes: list[str]) -> dict[str, Any]:
    """Images and patients, each counted once however many fits said something of it."""
    of_class = {name: table[table.label == name] for name in classes}
    return {
        "images_per_class": {
            name: {"images": int(rows.image.nunique()), "patients": int(rows.patient.nunique())}
            for name, rows in of_class.items()
        },
        "predictions_per_image": len(table) / max(1, table.image.nunique()),
    }


def _points(
    of: ScoredSet, points: dict[str, list[OperatingPoint]], codes: dict[str, int], side: str
) -> dict[str, list[dict[str, Any]]]:
    """Those of the validation set as they are, and what its thresholds do to another set; nothing of a class that is all of it
    or none."""
    if side == "valid":
        return {name: [asdict(point) for point in chosen] for name, chosen in points.items()}
    return {
        name: [
            asdict(operating_point(of.labels == code, of.probabilities[:, code], point.threshold, point.wanted_sensitivity))
            for point in points[name]
            if 0 < (of.labels == code).sum() < len(of.labels)
        ]
        for name, code in codes.items()
    }


def _calibration(of: ScoredSet, cooled: np.ndarray, temperature: float, side: str) -> dict[str, Any]:
    return {
        "bins": [asdict(part) for part in reliability(of.labels, of.probabilities)],
        "temperature": temperature,
        "fitted_on": "valid",
        "judged_by": "cross-fitting over patients" if side == "valid" else "images that it was not fitted to",
        "ece_after": expected_calibration_error(of.labels, cooled),
        "log_loss_after": negative_log_likelihood(of.labels, cooled),
    }
