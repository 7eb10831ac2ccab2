"""Predictions of files, for people and programs: one row per image, a CSV, and overlays of where the network looked."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from darkcovid.audits.explanations import RANDOM_WEIGHTS
from darkcovid.core.io import save_png, sha256_file, write_text
from darkcovid.core.threads import blocks_ahead
from darkcovid.inference.explanations import Explanations
from darkcovid.inference.image_files import ImageRef, open_image, png_names
from darkcovid.inference.predictor import InferencePipeline, Prediction
from darkcovid.metrics.classification import PROBABILITY
from darkcovid.report.overlays import contact_sheet, downscale, heatmap_overlay

BATCH = 16
LONG_SIDE = 1024
SHEET_SIDE = 420

KeepResults = Callable[[ImageRef, Image.Image, Prediction], list[str]]


def predict_images(
    predictor: InferencePipeline,
    images: Sequence[ImageRef],
    explain: Path | None = None,
    on_batch: Callable[[int], None] = lambda done: None,
    keep: KeepResults | None = None,
    compare: Path | None = None,
) -> list[dict[str, Any]]:
    """Predictions of files.

    Args:
        predictor: Of a run's arm.
        images: Names and files.
        explain: Folder of Grad-CAM overlays, one PNG per image; None: none.
        on_batch: Called with the number of images done.
        keep: Called with each image and its explained prediction; what it returns is added to the warnings.
        compare: Folder of Grad-CAM, occlusion, RISE and integrated gradients side by side, one PNG per image; None: none.

    Returns:
        Per image, in order: image, label, probabilities, answer, class_set, ood_score, lungs_trusted, warnings, and, where they
        were asked for, positive and explanations (`METHOD, METHOD` to rank correlation). Label and answer of one that cannot be
        read are None, and its warning says why.
    """
    answers: list[dict[str, Any]] = []
    trained_on = predictor.model.training_images()
    overlays = dict(zip(images, png_names([image.name for image in images]), strict=True))

    def read(named: ImageRef) -> tuple[Image.Image | None, str | None, bool]:
        image, fault = open_image(named)
        trained = bool(trained_on) and fault is None and named.file is not None and sha256_file(named.file) in trained_on
        return image, fault, trained

    for block in blocks_ahead(read, images, BATCH):
        readable, heat = [image for image, fault, _ in block if fault is None], explain is not None or keep is not None
        predictions = iter(predictor(readable, heat, compare is not None))
        for image, fault, trained in block:
            named, prediction = images[len(answers)], None if fault else next(predictions).of_image(trained)
            answers.append(_prediction_row(named.name, prediction, fault))
            if keep is not None and image is not None and prediction is not None:
                answers[-1]["warnings"] += keep(named, image, prediction)
            if explain is not None and image is not None and prediction is not None and prediction.heat is not None:
                save_png(overlay_heatmap(image, prediction.heat), explain / overlays[named])
            if compare is not None and image is not None and prediction is not None and prediction.explanations is not None:
                save_png(explanation_sheet(image, prediction.label, prediction.explanations), compare / overlays[named])
        on_batch(len(answers))
    return answers


def overlay_heatmap(image: Image.Image, heat: np.ndarray) -> Image.Image:
    """An image, at most 1024 px on its long side, under its heatmap.

    Args:
        image: Mode L.
        heat: (height, width) float, not negative.

    Returns:
        RGB.
    """
    small, heat = downscale(image, heat, LONG_SIDE)
    return heatmap_overlay(np.asarray(small), heat)


def explanation_sheet(image: Image.Image, label: str, explanations: Explanations) -> Image.Image:
    """An image under each explanation of an answer, side by side, with how far each agrees with the others.

    Args:
        image: Mode L.
        label: The answer, the most probable class.
        explanations: Of it.

    Returns:
        RGB.
    """
    captions = []
    for name in explanations.maps:
        agreed = [(pair.split(", "), value) for pair, value in explanations.agreement.items()]
        others = [(first, value) for (first, second), value in agreed if second == name]
        others += [("random weights", value) for (first, second), value in agreed if first == name and second == RANDOM_WEIGHTS]
        words = ", ".join(f"{other} {'-' if value is None else format(round(value, 2) + 0.0, '.2f')}" for other, value in others)
        captions.append(f"{name} of {label}; rank correlation with {words}")
    pictures = [overlay_heatmap(image, heat) for heat in explanations.maps.values()]
    return contact_sheet(pictures, captions, columns=len(pictures), side=SHEET_SIDE)


def write_csv(answers: Sequence[dict[str, Any]], path: Path) -> None:
    """Write predictions as a table with a column per class, `probability_<class>`; warnings are joined by semicolons.

    Args:
        answers: As `predict_images` gives them.
        path: The CSV.
    """
    table = pd.DataFrame(answers).drop(columns=["probabilities", "explanations"], errors="ignore")
    table["warnings"] = table.warnings.map("; ".join)
    table["class_set"] = table.class_set.map("; ".join)
    if "positive" in table:
        table["positive"] = table.positive.map(lambda names: "; ".join(names) if isinstance(names, list) else "")
    probabilities = pd.DataFrame([answer["probabilities"] for answer in answers]).add_prefix(PROBABILITY)
    write_text(path, table.join(probabilities).to_csv(index=False, float_format="%.6f"))


def _prediction_row(name: str, prediction: Prediction | None, fault: str | None) -> dict[str, Any]:
    if prediction is None:
        return {
            "image": name,
            "label": None,
            "probabilities": {},
            "answer": None,
            "class_set": [],
            "ood_score": None,
            "lungs_trusted": False,
            "warnings": [fault],
        }
    return {
        "image": name,
        "label": prediction.label,
        "probabilities": prediction.probabilities,
        "answer": prediction.answer,
        "class_set": list(prediction.class_set),
        "ood_score": prediction.ood_score,
        "lungs_trusted": prediction.lungs_trusted,
        "warnings": list(prediction.warnings),
        **({} if prediction.positive is None else {"positive": list(prediction.positive)}),
        **({} if prediction.explanations is None else {"explanations": prediction.explanations.agreement}),
    }
