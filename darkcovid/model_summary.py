"""A network layer by layer: what comes out, and how many parameters it took."""

from typing import Any

import torch
from torch import nn

from darkcovid import models
from darkcovid.models.registry import parameter_counts


def table() -> list[dict[str, Any]]:
    """Every registered network at three classes and its default size."""
    rows = []
    for name in models.names():
        architecture = models.get(name)
        network = models.build(name, 3, (architecture.default_size,) * 2, architecture.heads[0])
        total, _ = parameter_counts(network)
        rows.append(
            {
                "name": name,
                "parameters": total,
                "default_size": architecture.default_size,
                "source": architecture.source,
            }
        )
    return rows


def summarise(name: str, classes: int, size: int | None, head: str) -> dict[str, Any]:
    """name, parameters, trainable_parameters and layers: name, kind, output shape without the batch, parameters.

    size: input side in pixels, the network's default when None. Raises RequestError for an unknown name or head.
    """
    side = size or models.get(name).default_size
    network = models.build(name, classes, (side, side), head).eval()
    layers: list[dict[str, Any]] = []

    def note(path: str, module: nn.Module):
        def hook(_module, _inputs, output: torch.Tensor) -> None:
            own = sum(parameter.numel() for parameter in module.parameters())
            layers.append({"name": path, "kind": type(module).__name__, "output": list(output.shape[1:]), "parameters": own})

        return hook

    handles = [module.register_forward_hook(note(path, module)) for path, module in _shown(network)]
    with torch.inference_mode():
        network(torch.zeros(1, 3, side, side))
    for handle in handles:
        handle.remove()
    total, trainable = parameter_counts(network)
    return {
        "name": name,
        "classes": classes,
        "image_size": [side, side],
        "parameters": total,
        "trainable_parameters": trainable,
        "layers": layers,
    }


def _shown(network: nn.Module, path: str = "") -> list[tuple[str, nn.Module]]:
    """The modules that do the work: those without children, and those that call their children's functions themselves."""
    if not list(network.children()) or getattr(network, "one_layer", False):
        return [(path, network)]
    inner = [_shown(child, f"{path}.{name}" if path else name) for name, child in network.named_children()]
    return [item for items in inner for item in items]
