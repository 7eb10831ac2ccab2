"""Images of an arm, small, as its network saw them: with the lungs' outline and the Grad-CAM map, in one JSON file."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from skimage.measure import find_contours

from darkcovid.core.io import read_regular_text, write_text
from darkcovid.report.overlays import TRUE, heat_share

THUMBNAILS = "thumbnails.json"
LONG_SIDE, HEAT_SIDE = 160, 20
QUALITY = 55
PARTS = {"width", "height", "image", "lungs", "heat"}
MAX_THUMBNAILS = 500
EVERY = 8  # of the points of an outline, which are a pixel apart or less, one in so many is drawn


def thumbnail(
    pixels: np.ndarray, lungs: np.ndarray | None, heat: np.ndarray | None, others: Mapping[str, np.ndarray] | None = None
) -> dict[str, Any]:
    """One image.

    Args:
        pixels: (h, w) uint8.
        lungs: (h, w), above 0 inside the lungs; None where the mask was rejected or there is none.
        heat: (h, w) float, not negative; None: there is none.
        others: Maps of other methods by name, like `heat`; None: there are none.

    Returns:
        `width`, `height`, `image` (WebP in base64), `lungs` (an SVG path in pixels of it, '' for none) and `heat` (WebP in
        base64, transparent where the map is cold, '' for none); with `others` also `maps`, each like `heat`.
    """
    scale = LONG_SIDE / max(pixels.shape)
    size = max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale))
    small = Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR)
    return {
        "width": size[0],
        "height": size[1],
        "image": _webp(small, quality=QUALITY),
        "lungs": "" if lungs is None else outline_path(lungs, size),
        "heat": "" if heat is None else _webp(_heat_layer(heat), lossless=True),
        **({"maps": {name: _webp(_heat_layer(each), lossless=True) for name, each in others.items()}} if others else {}),
    }


def outline_path(mask: np.ndarray, size: tuple[int, int]) -> str:
    """The outline of a mask as an SVG path.

    Args:
        mask: (h, w), above 0 inside.
        size: (width, height) of the drawing.

    Returns:
        The path, '' of an empty mask.
    """
    shrunk = Image.fromarray((mask > 0).astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR)
    framed = np.pad(np.asarray(shrunk, float), 1)
    outlines = [outline[::EVERY] - 0.5 for outline in find_contours(framed, 127.5)]
    return "".join("M" + "L".join(f"{x:.0f} {y:.0f}" for y, x in outline) + "z" for outline in outlines if len(outline) > 3)


def write_thumbnails(path: Path, named: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """Write images by name.

    Args:
        path: The JSON file.
        named: Each image's name and `thumbnail`.
    """
    write_text(path, json.dumps({"images": dict(named)}))


def read_thumbnails(arm: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """The images of an arm, of each of its fits.

    Args:
        arm: The arm's folder.

    Returns:
        By the fit's name, '' where there is one, each image's `thumbnail` by name; without what cannot be read.
    """
    fits = {}
    for file in sorted(arm.rglob(THUMBNAILS)):
        try:
            images = json.loads(read_regular_text(file))["images"].items()
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        sound = {name: image for name, image in images if isinstance(image, dict) and image.keys() >= PARTS}
        fits[file.parent.relative_to(arm).as_posix().removeprefix(".")] = sound
    return fits


def _heat_layer(heat: np.ndarray) -> Image.Image:
    scale = HEAT_SIDE / max(heat.shape)
    size = max(1, round(heat.shape[1] * scale)), max(1, round(heat.shape[0] * scale))
    small = np.asarray(Image.fromarray(np.asarray(heat, np.float32)).resize(size, Image.Resampling.BILINEAR))
    layer = Image.new("RGB", size, TRUE)
    layer.putalpha(Image.fromarray(((heat_share(small) * 15).round() * 17).astype(np.uint8)))
    return layer


def _webp(image: Image.Image, **options: Any) -> str:
    file = io.BytesIO()
    image.save(file, format="WEBP", method=4, **options)
    return base64.b64encode(file.getvalue()).decode()
