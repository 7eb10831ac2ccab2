"""An explained prediction as a browser can show it: the image, its lungs and its heatmap, each a PNG layer."""

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from darkcovid.audits.explanations import agreement_words
from darkcovid.inference.predictor import Prediction
from darkcovid.report.overlays import PREDICTED, TRUE, UNTRUSTED, downscale, heat_share, mask_outline

LONG_SIDE = 768
COMPARED_SIDE, HEAT_SIDE = 384, 32  # of each image side by side, and of its heatmap


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
        "heat": _url(_layer(heat_share(heat), TRUE)),
    }


def comparison_layers(image: Image.Image, prediction: Prediction) -> dict[str, Any]:
    """What the page shows of one image under several explanations.

    Args:
        image: Mode L.
        prediction: Of this image, with explanations.

    Returns:
        `label`, the class that is explained; `agreement`, rank correlations by `METHOD, METHOD`; `words`, what they say;
        `picture`, and `maps` by method: PNG data URLs, the maps transparent where they are cold.
    """
    explanations = prediction.explanations
    assert explanations is not None
    small, _ = downscale(image, np.zeros(image.size[::-1], np.float32), COMPARED_SIDE)
    return {
        "label": prediction.label,
        "agreement": explanations.agreement,
        "words": agreement_words(explanations.agreement),
        "picture": _url(small),
        "maps": {name: _url(_heat(heat, small.size)) for name, heat in explanations.maps.items()},
    }


def _heat(heat: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """A heatmap in patches, which integrated gradients, pixel by pixel, need to be seen at all."""
    scale = HEAT_SIDE / max(heat.shape)
    coarse = max(1, round(heat.shape[1] * scale)), max(1, round(heat.shape[0] * scale))
    patches = Image.fromarray(np.asarray(heat, np.float32)).resize(coarse, Image.Resampling.BOX)
    smooth = np.asarray(patches.resize(size, Image.Resampling.BILINEAR))
    return _layer(heat_share(smooth), TRUE)


def _layer(strength: np.ndarray, color: str) -> Image.Image:
    """One color, as opaque as (h, w) `strength` in 0..1."""
    layer = Image.new("RGB", strength.shape[::-1], color)
    layer.putalpha(Image.fromarray((strength * 255).round().astype(np.uint8)))
    return layer


def _url(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, format="PNG", compress_level=1)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
