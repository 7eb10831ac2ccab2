"""Maps by gradients of a model that was made elsewhere, where its file has any."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from darkcovid.audits.explanations import GRADCAM, GRADIENTS, OCCLUSION
from darkcovid.core.errors import DataError
from darkcovid.core.log import logger
from darkcovid.inference.foreign.client import ForeignModel, ProcessModel
from darkcovid.inference.foreign.inputs import InputPolicy

MapKind = Literal["occlusion", "gradcam", "gradients"]
MAPS: dict[MapKind, str] = {"occlusion": OCCLUSION, "gradcam": GRADCAM, "gradients": GRADIENTS}

AT_ONCE = 8  # images of one answer

DrawMaps = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, MapKind] | None]  # of images and classes; None: no gradients


def gradient_maps_of(model: ForeignModel, policy: InputPolicy, outputs: Sequence[tuple[int, int]], gray: int) -> DrawMaps:
    """A function of images and classes to maps.

    Args:
        model: Which answers batches.
        policy: Its input.
        outputs: Of each class, as `outputs_of_classes` gives them.
        gray: Of the even image where integrated gradients start, 0..255.

    Returns:
        Of (m, ..., h, w) uint8 and (m,) int to (m, h, w) float32, not negative, and what made them; None where the model has no
        gradients, which is logged with the reason.
    """

    def draw(pixels: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, MapKind] | None:
        if not isinstance(model, ProcessModel) or not model.has_gradients:
            return None
        columns, signs = (np.array([outputs[target][part] for target in targets]) for part in (0, 1))
        even, found, said = policy.batch(np.full_like(pixels[:1], gray)), [], ""
        for start in range(0, len(pixels), AT_ONCE):
            some = slice(start, start + AT_ONCE)
            try:
                maps, said = model.explain(policy.batch(pixels[some]), even, columns[some], signs[some], policy.layout == "nchw")
            except DataError as error:  # too slow, or too large: the scores were neither
                model.start()
                maps, said = None, str(error)
            if maps is None:
                logger.info(f"{model.source}: no gradients ({said}); patches are hidden instead")
                return None
            found.append(maps.astype(np.float32))
        return np.concatenate(found), "gradcam" if said == GRADCAM else "gradients"

    return draw
