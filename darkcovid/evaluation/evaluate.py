"""Everything that one arm's predictions say: scores with intervals, calibration, operating points and subgroups."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from darkcovid.evaluation.calibration import calibration_error, fit_temperature, reliability, with_temperature
from darkcovid.evaluation.falls import Scored, falls
from darkcovid.evaluation.intervals import scored
from darkcovid.evaluation.operating import operating_points, point_at
from darkcovid.evaluation.subgroups import subgroups

EXTERNAL = "external:"


def evaluate(predictions: pd.DataFrame, classes: list[str]) -> dict[str, Any]:
    """The figures of the validation side; under `test`, of the test side where there is one; under `external`, of each set
    from elsewhere, with the `fall` from the test side, or the validation side where there is none, to it.

    predictions: a row an image, with patient, side, label, sex, view, age and `probability_<class>`; the side of images from
    elsewhere is `external:<name>`. The temperature and the thresholds are fitted to the validation side, whose own
    calibration after it is therefore flattered.
    """
    codes = {name: code for code, name in enumerate(classes)}
    tables = {side: table for side, table in predictions.groupby("side") if side != "train"}
    sides = {
        side: (table.label.map(codes).to_numpy(int), table[[f"probability_{name}" for name in classes]].to_numpy(float))
        for side, table in tables.items()
    }
    labels, probabilities = sides["valid"]
    temperature = fit_temperature(labels, probabilities)
    points = {name: operating_points(labels == code, probabilities[:, code]) for name, code in codes.items()}
    found = {}
    for side, table in tables.items():
        labels, probabilities = sides[side]
        found[side] = scored(labels, probabilities, classes, table.patient) | {
            "calibration": _calibration(labels, probabilities, temperature),
            "operating_points": {
                name: [
                    asdict(point_at(labels == code, probabilities[:, code], point.threshold, point.wanted_sensitivity))
                    for point in points[name]
                    if 0 < (labels == code).sum() < len(labels)
                ]
                for name, code in codes.items()
            },
            "subgroups": [asdict(group) for group in subgroups(table, probabilities.argmax(1) == labels)],
        }
    inside = "test" if "test" in found else "valid"
    external = {
        side.removeprefix(EXTERNAL): found.pop(side)
        | {
            "images": int(tables[side].image.nunique()),
            "patients": int(tables[side].patient.nunique()),
            "fall": falls(Scored(*sides[inside], tables[inside].patient), Scored(*sides[side], tables[side].patient), classes),
        }
        for side in list(found)
        if side.startswith(EXTERNAL)
    }
    return found.pop("valid") | found | ({"external": external} if external else {})


def _calibration(labels: np.ndarray, probabilities: np.ndarray, temperature: float) -> dict[str, Any]:
    cooled = with_temperature(probabilities, temperature)
    return {
        "bins": [asdict(part) for part in reliability(labels, probabilities)],
        "temperature": temperature,
        "fitted_on": "valid",
        "ece_after": calibration_error(labels, cooled),
        "log_loss_after": float(-np.log(np.clip(cooled[np.arange(len(labels)), labels], 1e-7, 1)).mean()),
    }
