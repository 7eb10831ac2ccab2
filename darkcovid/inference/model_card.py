"""The model card (Mitchell et al. 2019): what a fitted model was trained on, what it scored, what it is not for."""

import json
from dataclasses import asdict
from typing import Any

from darkcovid import __version__
from darkcovid.inference.load import FittedModel

NOT_FOR = "Research software, never a diagnosis: not for any decision about a patient."
CAUTION = (
    "The classes of the cohort come from different hospitals, so a network can score high without reading lungs; see the audits "
    "and the scores on images from elsewhere before believing it."
)


def model_card(model: FittedModel) -> dict[str, Any]:
    """JSON-able; figures as in the run folder."""
    data, summary, metrics = model.recipe.data, model.scores.summary, model.scores.metrics
    audit = model.run / "audit.json"
    data_audit = json.loads(audit.read_text()) if audit.is_file() else {}
    return {
        "name": model.recipe.name,
        "fit": model.fit,
        "run": model.run.name,
        "not_for": NOT_FOR,
        "caution": CAUTION,
        "network": _network(model),
        "parameters": summary.parameters,
        "classes": list(model.classes),
        "image_size": list(model.size),
        "lungs": " and ".join(dict.fromkeys(_seen(each) for each in model.networks)),
        "trained_on": {
            "manifest": data.manifest,
            "dataset": ", ".join(data.selected_datasets) or None,
            "images": summary.images,
            "left_out": summary.left_out_of_training,
        },
        "patients_kept_apart": data.split.method in ("stratified_group", "leave_source_out"),
        "leaks_found": data_audit.get("leaks"),
        "scored_on": metrics.scored_on,
        "accuracy": metrics.headline.accuracy,
        "accuracy_interval": metrics.headline.intervals.get("accuracy"),
        "per_class": {name: asdict(scores) for name, scores in metrics.headline.per_class.items()},
        "calibration": {"temperature": model.temperature, "error_after": metrics.valid.calibration.ece_after},
        "elsewhere": {name: external.balanced_accuracy for name, external in metrics.elsewhere.items()},
        "darkcovid": __version__,
    }


def _network(model: FittedModel) -> str:
    """The architecture, or those of an ensemble's members and their number."""
    names = dict.fromkeys(each.recipe.model.arch for each in model.networks)
    return f"mean of {len(model.members)} fits of {' and '.join(names)}" if model.members else model.recipe.model.arch


def _seen(model: FittedModel) -> str:
    return model.recipe.lungs.mode if model.recipe.lungs else "whole image"
