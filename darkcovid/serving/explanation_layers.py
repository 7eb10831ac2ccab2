"""An explained prediction as a browser can show it: the image, its lungs and its heatmap, each a PNG layer."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from darkcovid.inference.predictor import Prediction
from darkcovid.report.overlays import PREDICTED, TRUE, UNTRUSTED, downscale, mask_outline

LONG_SIDE = 768


def explanation_layers(image: Image.Image, prediction: Prediction) -> dict[str, Any]:
    """What the page shows of one image.

    Args:
        image: Mode L.
        prediction: Of this image.

    Returns:
        `label`, `probabilities`, `answer`, `class_set`, `lungs_trusted` (whether the lung mask was accepted), `warnings`, and
        `picture`, `lungs`, `heat`: PNG data URLs of one size, the last two transparent where there is nothing to show.
    """
    heat = np.zeros(image.size[::-1], np.float32) if prediction.heat is None else prediction.heat
    small, heat = downscale(image, heat, LONG_SIDE)
    edge = mask_outline(prediction.lungs, small.size)
    return {
        "label": prediction.label,
        "probabilities": prediction.probabilities,
        "answer": prediction.answer,
        "class_set": list(prediction.class_set),
        "lungs_trusted": prediction.lungs_trusted,
        "warnings": list(prediction.warnings),
        "picture": _url(small),
        "lungs": _url(_layer(edge.astype(np.float32), PREDICTED if prediction.lungs_trusted else UNTRUSTED)),
        "heat": _url(_layer(heat / max(float(heat.max()), 1e-9), TRUE)),
    }


def _layer(strength: np.ndarray, color: str) -> Image.Image:
    """One color, as opaque as (h, w) `strength` in 0..1."""
    layer = Image.new("RGB", strength.shape[::-1], color)
    layer.putalpha(Image.fromarray((strength * 255).round().astype(np.uint8)))
    return layer


def _url(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, format="PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
