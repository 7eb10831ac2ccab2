"""The table of architectures: a name, its source, its default size, its heads, and how to build it."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from darkcovid.core.errors import UsageError, one_line
from darkcovid.models.weights import load_weights
from darkcovid.recipe import Model

Size = tuple[int, int]
Build = Callable[[Model, int, Size], nn.Module]
TIMM = "timm/"


@dataclass(frozen=True, slots=True)
class Architecture:
    """`build(model, outputs, size)` gives the network for (b, 1 to 3, *size) normalized pixels and (b, outputs) logits,
    with fresh weights; `heads`: the endings it knows, the first by default. `published`, where given, builds it for three
    channels as its authors wrote it: the same function, not sped up. `pretrained`: it knows ImageNet weights."""

    name: str
    source: str
    default_size: int
    heads: tuple[str, ...]
    build: Build
    published: Build | None = None
    pretrained: bool = False


_TABLE: dict[str, Architecture] = {}
_FAMILIES: dict[str, Callable[[str], Architecture]] = {}


def register_model(architecture: Architecture) -> None:
    _TABLE[architecture.name] = architecture


def register_prefix(prefix: str, find: Callable[[str], Architecture]) -> None:
    """`find` makes the architecture of any name that begins with `prefix`, or raises UsageError."""
    _FAMILIES[prefix] = find


def list_models() -> list[str]:
    return sorted(_TABLE)


def get_architecture(name: str) -> Architecture:
    """Raises UsageError, with the nearest name, when no architecture is called so."""
    for prefix, find in _FAMILIES.items():
        if name.startswith(prefix):
            return find(name)
    if name not in _TABLE:
        close = difflib.get_close_matches(name, _TABLE, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(list_models())}, and timm/<any timm name>"
        raise UsageError(f"model.arch: no architecture is called {name!r}; {hint}")
    return _TABLE[name]


def create_model(model: Model, outputs: int, size: Size, channels: int = 1) -> nn.Module:
    """The network of a recipe's `model` with `outputs` logits for inputs of `size` (height, width) and 1 to 3
    `channels`, weights loaded.

    Raises UsageError: unknown name, a head it does not have, an input too small for it, weights it does not know;
    DataError: weights that are not there or are another network's.
    """
    architecture = validate_model_config(model)
    try:
        network = architecture.build(model, outputs, size)
        with torch.inference_mode():
            network.eval()(torch.zeros(1, channels, *size))
    except (RuntimeError, ValueError, AssertionError) as error:
        side = architecture.default_size
        raise UsageError(
            f"data.image_size: {size[0]}x{size[1]} does not fit {model.arch}, which was made for {side}x{side} "
            f"({one_line(error)[:120]})"
        ) from None
    load_weights(network, model, architecture.pretrained)
    return network.train()


def validate_model_config(model: Model) -> Architecture:
    """The architecture of a recipe's `model`. Raises UsageError: unknown name, or a head it does not have."""
    architecture = get_architecture(model.arch)
    if model.head is not None and model.head not in architecture.heads:
        raise UsageError(f"model.head: {model.arch} has no head {model.head!r}; it has: {', '.join(architecture.heads)}")
    return architecture


def parameter_counts(network: nn.Module) -> tuple[int, int]:
    """All parameters, and those that train."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in network.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, trains in sizes if trains)
