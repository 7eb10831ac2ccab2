"""The model card (Mitchell et al. 2019): what a fitted model was trained on, what it scored, what it is not for; as JSON, and as
Hugging Face's hub wants it, Markdown below a YAML header."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from darkcovid import __version__
from darkcovid.inference.load import FittedModel

NOT_FOR = "Research software, never a diagnosis: not for any decision about a patient."
CAUTION = (
    "Where the classes of a cohort come from different hospitals, a network can score high without reading lungs; see the audits "
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


def hub_model_card(model: FittedModel, license_name: str | None = None) -> str:
    """The model card as the `README.md` of a repository on Hugging Face's hub; nothing is sent anywhere.

    Args:
        model: A fitted classifier.
        license_name: Of the model, as the hub names it; None: not stated.

    Returns:
        Markdown below a YAML header with task, tags and results (`model-index`).
    """
    from huggingface_hub import EvalResult, ModelCardData

    card = model_card(model)
    dataset = card["trained_on"]["dataset"] or Path(card["trained_on"]["manifest"]).name
    scores = {"accuracy": card["accuracy"], "balanced_accuracy": model.scores.metrics.headline.balanced_accuracy}
    task = "image-classification"
    header = ModelCardData(
        model_name=f"{card['name']} {card['fit']}",
        library_name="darkcovid",
        pipeline_tag=task,
        tags=["chest-radiograph", "covid-19", "research-only", "not-for-diagnosis"],
        license=license_name or "other",
        license_name=None if license_name else "not-stated",
        metrics=list(scores),
        eval_results=[EvalResult(task, "chest-radiographs", dataset, name, value, dataset_split=card["scored_on"])
                      for name, value in scores.items()],
    )  # fmt: skip
    return f"---\n{header.to_yaml()}\n---\n\n{_card_text(card, dataset)}"


def _card_text(card: dict[str, Any], dataset: str) -> str:
    environment = Environment(loader=PackageLoader("darkcovid.report"), keep_trailing_newline=True, autoescape=False)
    environment.filters |= {"plain": _plain, "share": lambda value: "-" if value is None else f"{value:.3f}"}
    return environment.get_template("model_card.md.j2").render(card=card, dataset=dataset)


def _plain(text: object) -> str:
    """Text that is no markup of its own."""
    return "".join(f"\\{letter}" if letter in "|\\*_[]<`#" else letter for letter in " ".join(str(text).split()))
