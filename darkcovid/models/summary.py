"""What is a network made of? Parameters, multiply-adds and layers, from one forward pass."""

from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from darkcovid import models
from darkcovid.recipe import Model


def model_table(classes: int = 3) -> list[dict[str, Any]]:
    """Every network of the registry at its default size: name, parameters, multiply_adds, default_size, heads, source."""
    return [_row(name, classes) for name in models.list_models()]


def summarize_model(name: str, classes: int, size: int | None, head: str | None) -> dict[str, Any]:
    """The layers and the size of a network.

    Args:
        name: Of the architecture.
        classes: How many.
        size: Side of the input in pixels; None: the network's default.
        head: None: the default.

    Returns:
        `name`, `parameters`, `trainable_parameters`, `multiply_adds`, and `layers`: name, kind, output shape without the
        batch,
        parameters.

    Raises:
        UsageError: Unknown name or head.
    """
    side = size or models.get_architecture(name).default_size
    network = models.create_model(Model(arch=name, head=head), classes, (side, side)).eval()
    layers: list[dict[str, Any]] = []

    def note(path: str, module: nn.Module):
        def hook(_module, _inputs, output: torch.Tensor) -> None:
            own = sum(parameter.numel() for parameter in module.parameters())
            layers.append({"name": path, "kind": type(module).__name__, "output": list(output.shape[1:]), "parameters": own})

        return hook

    handles = [module.register_forward_hook(note(path, module)) for path, module in _leaf_layers(network)]
    multiply_adds = count_multiply_adds(network, side)
    for handle in handles:
        handle.remove()
    total, trainable = models.parameter_counts(network)
    return {
        "name": name,
        "classes": classes,
        "image_size": [side, side],
        "parameters": total,
        "trainable_parameters": trainable,
        "multiply_adds": multiply_adds,
        "layers": layers,
    }


def count_multiply_adds(network: nn.Module, side: int) -> int:
    """Multiplications with an addition in one forward pass of a gray image, by torch's count.

    Args:
        network: For one channel.
        side: Of the image in pixels.

    Returns:
        The count.
    """
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 1, side, side))
    return counter.get_total_flops() // 2


def _row(name: str, classes: int) -> dict[str, Any]:
    architecture = models.get_architecture(name)
    side = architecture.default_size
    network = models.create_model(Model(arch=name), classes, (side, side)).eval()
    return {
        "name": name,
        "parameters": models.parameter_counts(network)[0],
        "multiply_adds": count_multiply_adds(network, architecture.default_size),
        "default_size": architecture.default_size,
        "heads": list(architecture.heads),
        "source": architecture.source,
    }


def _leaf_layers(network: nn.Module, path: str = "") -> list[tuple[str, nn.Module]]:
    """The modules that do the work: those without children, and those that call their children's functions themselves."""
    if not list(network.children()) or getattr(network, "one_layer", False):
        return [(path, network)]
    inner = [_leaf_layers(child, f"{path}.{name}" if path else name) for name, child in network.named_children()]
    return [item for items in inner for item in items]
