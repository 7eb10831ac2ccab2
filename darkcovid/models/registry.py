"""The table of architectures: a name, its source, its default size, its heads, and how to build it."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from darkcovid.core.errors import UsageError, one_line
from darkcovid.data.normalize import IMAGENET, Scale
from darkcovid.models.weights import load_weights
from darkcovid.recipe import Interpolation, Model, Recipe

Size = tuple[int, int]
Build = Callable[[Model, int, Size], nn.Module]
TIMM = "timm/"


@dataclass(frozen=True, slots=True)
class PretrainedInput:
    """What a network's ImageNet weights were trained on.

    Attributes:
        mean: Of each channel, in 0..1.
        std: Standard deviation of each channel.
        interpolation: How images were resized: `bilinear` or `bicubic`.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str


@dataclass(frozen=True, slots=True)
class Architecture:
    """One row of the registry.

    Attributes:
        name: As `model.arch` names it.
        source: Paper.
        default_size: Side of the input in pixels.
        heads: The endings it knows, the first by default.
        build: `build(model, outputs, size)` gives the network for (b, 1 to 3, *size) normalized pixels and (b, outputs)
            logits,
            randomly initialized.
        published: Builds it for three channels as its authors wrote it: the same function, not sped up. None: as `build`.
        pretrained: What its ImageNet weights were trained on; None: it has none.
    """

    name: str
    source: str
    default_size: int
    heads: tuple[str, ...]
    build: Build
    published: Build | None = None
    pretrained: Callable[[], PretrainedInput] | None = None

    @property
    def pretrained_input(self) -> PretrainedInput:
        """The input of its ImageNet weights.

        Raises:
            UsageError: There are none.
        """
        if self.pretrained is None:
            raise UsageError(f"data.normalize: {self.name} has no ImageNet weights, whose mean `pretrained` takes; use training")
        return self.pretrained()


_TABLE: dict[str, Architecture] = {}
_FAMILIES: dict[str, tuple[Callable[[str], Architecture], tuple[str, ...]]] = {}


def register_model(architecture: Architecture) -> None:
    """Add an architecture to the registry."""
    _TABLE[architecture.name] = architecture


def register_prefix(prefix: str, find: Callable[[str], Architecture], suggested: tuple[str, ...] = ()) -> None:
    """Add a family of architectures to the registry.

    Args:
        prefix: How the names of the family begin.
        find: Makes the architecture of a name, or raises UsageError.
        suggested: Names of the family that are suggested for an unknown name like them.
    """
    _FAMILIES[prefix] = find, suggested


def list_models() -> list[str]:
    """Names of the registry, sorted; families are not in it."""
    return sorted(_TABLE)


def get_architecture(name: str) -> Architecture:
    """The architecture of a name.

    Raises:
        UsageError: No architecture is called so; the nearest name is given.
    """
    for prefix, (find, _) in _FAMILIES.items():
        if name.startswith(prefix):
            return find(name)
    if name not in _TABLE:
        known = [*_TABLE, *(suggested for _, names in _FAMILIES.values() for suggested in names)]
        close = [other for other in known if name in other] or difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(list_models())}, and timm/<any timm name>"
        raise UsageError(f"model.arch: no architecture is called {name!r}; {hint}")
    return _TABLE[name]


def input_scale(recipe: Recipe) -> Scale:
    """Mean and standard deviation of `data.normalize: imagenet` and `pretrained`, those of a network's own input.

    Args:
        recipe: One arm's.

    Returns:
        Means and standard deviations, three of each, or their averages for a network that takes gray images.

    Raises:
        UsageError: The network has no ImageNet weights whose input could be known.
    """
    scale = IMAGENET
    if recipe.data.normalize == "pretrained":
        own = get_architecture(recipe.model.arch).pretrained_input
        scale = own.mean, own.std
    if not recipe.model.grayscale:
        return scale
    (first, second, third), (one, two, three) = scale
    return ((first + second + third) / 3,), ((one + two + three) / 3,)


def input_interpolation(recipe: Recipe) -> Interpolation:
    """How an arm's images are resized: as `data.interpolation` says, or for `auto` as its network was pretrained.

    Args:
        recipe: One arm's.

    Returns:
        "bilinear" or "bicubic".

    Raises:
        UsageError: As `input_scale` does.
    """
    if recipe.data.interpolation != "auto":
        return recipe.data.interpolation
    if recipe.data.normalize != "pretrained":
        return "bilinear"
    return "bicubic" if get_architecture(recipe.model.arch).pretrained_input.interpolation == "bicubic" else "bilinear"


def create_model(model: Model, outputs: int, size: Size, channels: int = 1) -> nn.Module:
    """The network of a recipe, weights loaded.

    Args:
        model: The recipe's section.
        outputs: Logits per image.
        size: (height, width) of the input in pixels.
        channels: Of the input, 1 to 3.

    Returns:
        The network.

    Raises:
        UsageError: Unknown name, a head it does not have, an input too small for it, or weights it does not know.
        DataError: Weights that are missing or are another network's.
    """
    architecture = validate_model_config(model)
    try:
        network = architecture.build(model, outputs, size)
        set_input_channels = getattr(network, "set_input_channels", None)  # a transfer learner's, which imports this module
        if model.grayscale and set_input_channels is not None:
            set_input_channels(channels)
        with torch.no_grad():  # not inference_mode, in which lazy layers would make weights that cannot be trained
            network.eval()(torch.zeros(1, channels, *size))
    except (RuntimeError, ValueError, AssertionError) as error:
        side = architecture.default_size
        if size == (side, side) or not _builds(architecture, model, outputs, (side, side)):
            raise UsageError(f"model.arch: {model.arch} cannot be built ({one_line(error)[:120]})") from None
        raise UsageError(
            f"data.image_size: {size[0]}x{size[1]} does not fit {model.arch}, which was made for {side}x{side} "
            f"({one_line(error)[:120]})"
        ) from None
    network.initial_weights = load_weights(network, model, architecture.pretrained is not None)  # pyright: ignore
    return network.train()


def _builds(architecture: Architecture, model: Model, outputs: int, size: Size) -> bool:
    """Whether the network can be made at all, for a size that it was made for."""
    try:
        with torch.no_grad():
            architecture.build(model, outputs, size).eval()(torch.zeros(1, 1, *size))
    except (RuntimeError, ValueError, AssertionError):
        return False
    return True


def validate_model_config(model: Model) -> Architecture:
    """The architecture of a recipe's `model`.

    Raises:
        UsageError: Unknown name, or a head it does not have.
    """
    architecture = get_architecture(model.arch)
    if model.head is not None and model.head not in architecture.heads:
        raise UsageError(f"model.head: {model.arch} has no head {model.head!r}; it has: {', '.join(architecture.heads)}")
    return architecture


def parameter_counts(network: nn.Module) -> tuple[int, int]:
    """All parameters, and those that train."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in network.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, trains in sizes if trains)
