"""The table of architectures: a name, its source, its default size, and how to build it."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from darkcovid.errors import RequestError

Size = tuple[int, int]
Build = Callable[[int, Size, str], nn.Module]


@dataclass(frozen=True, slots=True)
class Architecture:
    """`build(classes, size, head)` gives the network for (b, 1 or 3, *size) standardised pixels and (b, classes) logits.
    `published`, where given, builds it for three channels as its authors wrote it: the same function, not sped up."""

    name: str
    source: str
    default_size: int
    heads: tuple[str, ...]
    build: Build
    published: Build | None = None


_TABLE: dict[str, Architecture] = {}


def register(architecture: Architecture) -> None:
    _TABLE[architecture.name] = architecture


def names() -> list[str]:
    return sorted(_TABLE)


def get(name: str) -> Architecture:
    """Raises RequestError, with the nearest name, when no architecture is called so."""
    if name not in _TABLE:
        close = difflib.get_close_matches(name, _TABLE, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(names())}"
        raise RequestError(f"model.arch: no architecture is called {name!r}; {hint}")
    return _TABLE[name]


def build(name: str, classes: int, size: Size, head: str = "faithful") -> nn.Module:
    """A freshly initialised network. Raises RequestError: unknown name, or a head it does not have."""
    architecture = get(name)
    if head not in architecture.heads:
        raise RequestError(f"model.head: {name} has no head {head!r}; it has: {', '.join(architecture.heads)}")
    return architecture.build(classes, size, head)


def parameter_counts(network: nn.Module) -> tuple[int, int]:
    """All parameters, and those that train."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in network.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, trains in sizes if trains)
