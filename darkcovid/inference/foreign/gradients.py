"""What gradients say of an answer of a model that was made elsewhere. Runs in the process of `worker.py`, on what torch computes:
TorchScript, and Keras on its torch backend.

Neither lets its layers be hooked the same way, so the last convolution is found in the graph that autograd keeps, and its output
among the operations that torch dispatches. Where there is none, integrated gradients are taken.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.autograd.graph import GradientEdge
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

MIN_CHANNELS = 16  # as in `models.feature_layer`
AT_ONCE = 8
STEPS = 24
GRADCAM, GRADIENTS = "Grad-CAM", "integrated gradients"
LAST = ("SoftmaxBackward0", "LogSoftmaxBackward0", "SigmoidBackward0")

Forward = Callable[[torch.Tensor], torch.Tensor]


def gradient_maps(
    forward: Forward, batch: np.ndarray, gray: np.ndarray, columns: np.ndarray, signs: np.ndarray, channels_first: bool
) -> tuple[np.ndarray, str]:
    """Where the answers of a model come from.

    Args:
        forward: (m, ...) inputs to (m, k) or (m,) scores, in torch.
        batch: (n, ...) float32 inputs.
        gray: (1, ...) float32, an even image.
        columns: (n,) int, which score of each.
        signs: (n,) 1, or -1 where the opposite of a score is explained.
        channels_first: Whether inputs are (n, c, h, w), not (n, h, w, c).

    Returns:
        (n, h, w) float64, not negative, and what made them: Grad-CAM at the last convolution of at least 16 channels, of the
        scores before a softmax or sigmoid; else integrated gradients of the scores.

    Raises:
        RuntimeError: There are no gradients.
    """
    maps, size = [], batch.shape[2:4] if channels_first else batch.shape[1:3]
    blocks = [slice(start, start + AT_ONCE) for start in range(0, len(batch), AT_ONCE)]
    for block in blocks:
        found = _grad_cam(forward, batch[block], columns[block], signs[block], size)
        if found is None:
            break
        maps.append(found)
    else:
        return np.concatenate(maps), GRADCAM
    each = [_integrated(forward, batch[row : row + 1], gray, int(columns[row]), int(signs[row])) for row in range(len(batch))]
    return np.concatenate(each).sum(1 if channels_first else -1).clip(0).astype(np.float64), GRADIENTS


class _Convolutions(TorchDispatchMode):
    """Outputs of the convolutions that run inside it, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: list[torch.Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func.name() in ("aten::convolution", "aten::_convolution"):
            self.outputs.append(output.detach())
        return output


def _grad_cam(
    forward: Forward, batch: np.ndarray, columns: np.ndarray, signs: np.ndarray, size: tuple[int, ...]
) -> np.ndarray | None:
    """(m, h, w) float64, or None where there is no such convolution."""
    inputs = torch.from_numpy(batch.copy()).requires_grad_()
    with torch.enable_grad(), _Convolutions() as seen:
        scores = forward(inputs)
    if scores.grad_fn is None:
        raise RuntimeError("its answers have no gradients")
    nodes = _convolution_nodes(scores.grad_fn)
    if len(nodes) != len(seen.outputs):
        return None
    wide = [
        (node, output)
        for node, output in zip(nodes, seen.outputs, strict=True)
        if output.ndim == 4 and output.shape[1] >= MIN_CHANNELS and output.shape[2] * output.shape[3] > 1
    ]
    if not wide:
        return None
    node, output = wide[-1]
    last: Any = scores.grad_fn
    below: Any = GradientEdge(*last.next_functions[0]) if last.name() in LAST else scores
    asked = torch.zeros(len(batch), scores.numel() // len(batch))
    asked[torch.arange(len(batch)), torch.from_numpy(columns)] = torch.from_numpy(signs).float()
    (gradient,) = torch.autograd.grad([below], [GradientEdge(node, 0)], [asked.view_as(scores).to(scores)])
    weighted = (gradient.mean((2, 3), keepdim=True) * output).sum(1, keepdim=True).relu()
    large = functional.interpolate(weighted, list(size), mode="bilinear")
    return large[:, 0].double().numpy()


def _convolution_nodes(last: Any) -> list[Any]:
    """The convolutions of a graph in the order in which they ran."""
    seen, waiting, found = set(), [last], []
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name().startswith("ConvolutionBackward"):
            found.append(node)
        waiting += [before for before, _ in node.next_functions]
    return sorted(found, key=lambda node: node._sequence_nr())


def _integrated(forward: Forward, image: np.ndarray, gray: np.ndarray, column: int, sign: int) -> np.ndarray:
    """Integrated gradients of one image (Sundararajan et al. 2017), by captum; of the input's shape, signed."""
    from captum.attr import IntegratedGradients

    explainer = IntegratedGradients(lambda images: sign * forward(images).reshape(len(images), -1)[:, column])
    inputs, start = torch.from_numpy(image.copy()), torch.from_numpy(gray.copy())
    return explainer.attribute(inputs, start, n_steps=STEPS, internal_batch_size=AT_ONCE).detach().numpy()
