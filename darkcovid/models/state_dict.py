"""Which tensor of a file belongs to which of a network's? Programs wrap, prefix, rename and reorder them.

Files are read as safetensors or with torch's `weights_only`; no pickle is run.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from darkcovid.core.errors import DataError, one_line
from darkcovid.core.safetensors_io import read_safetensors
from darkcovid.models.probes import NearestNeighbors

Tensors = Mapping[str, torch.Tensor]
SHOWN = 3
MAX_CLASSIFIER = 12  # tensors after a backbone that can be its classifier; fastai's head has ten
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model_state_dict", "model", "net", "network", "weights")
MOVING_AVERAGES = ("encoder_k", "momentum", "target")  # in names of a second network, as MoCo and BYOL write it
COUNTER = "num_batches_tracked"  # of BatchNorm, which older files lack and nothing here reads
STATISTICS = ("running_mean", "running_var")
RENAMED = ((re.compile(r"(denselayer\d+\.(?:norm|conv))\.(\d\.)"), r"\1\2"),)  # torchvision's own densenet files


@dataclass(frozen=True)
class Match:
    """Tensors of a file that belong to a network.

    Attributes:
        tensors: By the network's names.
        unused: Names in the file of what the network does not have.
        missing: The network's names that the file has nothing for.
        shapes: Names in the file of tensors that have another shape than the network's.
        prefix: Stands before the network's names in the file.
        in_order: Whether they were matched by their order and shapes, since the names are not the network's.
    """

    tensors: dict[str, torch.Tensor]
    unused: tuple[str, ...]
    missing: tuple[str, ...]
    shapes: tuple[str, ...] = ()
    prefix: str = ""
    in_order: bool = False


def load_state_dict_file(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors or .pth file, by name; of a training checkpoint those of its network.

    Args:
        path: The file.

    Returns:
        Tensors by name.

    Raises:
        DataError: Absent, damaged, or not a mapping of tensors (a ValueError inside).
    """
    try:
        if path.suffix == ".safetensors":
            return read_safetensors(path)[0]
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        return _unwrap(loaded)
    except FileNotFoundError:
        raise DataError(f"model.weights: {path}: no such file; name a .safetensors or .pth file, imagenet, or none") from None
    except IsADirectoryError:
        raise DataError(f"model.weights: {path}: a folder; name a .safetensors or .pth file in it") from None
    except (OSError, SafetensorError, ValueError, RuntimeError, EOFError) as error:
        raise DataError(f"model.weights: {path}: not readable as weights ({one_line(error)[:120]})") from None
    except Exception as error:  # noqa: BLE001 (unpickling refuses in many ways, none of which is ours)
        raise DataError(
            f"model.weights: {path}: refused, it holds more than weights ({one_line(error)[:80]}); "
            "save its state_dict alone, best with safetensors"
        ) from None


def _unwrap(loaded: Any) -> dict[str, torch.Tensor]:
    """The state dict in a training checkpoint, which holds it under a name beside the optimizer's and other things."""
    if isinstance(loaded, dict) and loaded and all(torch.is_tensor(value) for value in loaded.values()):
        return dict(loaded)
    for name in WRAPPERS if isinstance(loaded, dict) else ():
        inner = loaded.get(name)
        if isinstance(inner, dict) and inner:
            return _unwrap(inner)
    raise ValueError("it does not hold a mapping of tensors")


def match_tensors(expected: Tensors, given: Tensors, stems: Collection[str] = ()) -> Match:
    """Find the tensors of a network among those of a file: by name behind a common prefix, or else in order.

    Args:
        expected: The network's, by the names that its library gives them.
        given: The file's.
        stems: Names of the weights of the convolutions that take the image, whose input channels may differ: they are summed
            or repeated so that gray images give the same outputs.

    Returns:
        What was found.
    """
    renamed = {_library_name(name): value for name, value in given.items()}
    prefix = _prefix(expected, renamed)
    if prefix is None:
        return _match_in_order(expected, given, stems)
    tensors, shapes = {}, []
    for name, own in expected.items():
        value = renamed.get(prefix + name)
        if value is None:
            continue
        if name in stems:
            value = to_stem_channels(value, own)
        if value.shape == own.shape:
            tensors[name] = value
        else:
            shapes.append(prefix + name)
    used = {prefix + name for name in expected}
    missing = [name for name in expected if prefix + name not in renamed]
    return Match(tensors, tuple(name for name in renamed if name not in used), tuple(missing), tuple(shapes), prefix)


def to_stem_channels(weight: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """The weights of a first convolution for another number of input channels: the same outputs for equal channels.

    Args:
        weight: (out, c, height, width).
        own: Of the shape wanted.

    Returns:
        (out, own channels, height, width), or `weight` where more than the channels differs.
    """
    if weight.dim() != 4 or weight.shape[1] == own.shape[1] or weight.shape[::2] != own.shape[::2]:
        return weight
    return (weight.sum(1, keepdim=True) / own.shape[1]).repeat(1, own.shape[1], 1, 1)


def fill_shared(match: Match, shared: Iterable[Collection[str]]) -> Match:
    """A match with the tensors that layers share under all of their names; safetensors' `save_model` writes one of them.

    Args:
        match: What was found in a file.
        shared: The network's names of one tensor, for each that has several.

    Returns:
        The match.
    """
    tensors = dict(match.tensors)
    for names in shared:
        held = [tensors[name] for name in names if name in tensors]
        tensors.update((name, held[0]) for name in names if held and name not in tensors)
    return replace(match, tensors=tensors, missing=tuple(name for name in match.missing if name not in tensors))


def check_whole(match: Match, where: str, optional: Callable[[str], bool], ignored: tuple[str, ...] = ()) -> None:
    """Refuse weights of another network.

    Args:
        match: What was found in a file.
        where: The weights come from, for the message.
        optional: Whether a tensor of the network may be missing in the file.
        ignored: How names begin, after the prefix, of what the file may have in excess, such as a classifier.

    Raises:
        DataError: Some are missing, unknown or of another shape; which is said.
    """
    inside = [name for name in match.unused if name.startswith(match.prefix)]
    kinds = {
        "missing": [name for name in match.missing if not optional(name)],
        "unknown": [] if match.in_order else [name for name in inside if not name[len(match.prefix) :].startswith(ignored)],
        "of another shape": list(match.shapes),
    }
    faults = [
        f"{len(names)} {kind}: {', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}"
        for kind, names in kinds.items()
        if names
    ]
    if faults:
        raise DataError(f"model.weights: {where}: weights of another network ({'; '.join(faults)})")


def load_state_dict_strict(network: nn.Module, tensors: Tensors, where: str) -> None:
    """Load tensors into a network under its own names, all of them and nothing less.

    Args:
        network: Changed in place.
        tensors: By name.
        where: They come from, for messages.

    Raises:
        DataError: Some are missing, unknown or of another shape; which is said.
    """
    for name, module in network.named_modules():
        if isinstance(module, NearestNeighbors) and f"{name}.features" in tensors:
            module.allocate(len(tensors[f"{name}.features"]))
    state = network.state_dict()
    match = Match(
        {name: value for name, value in tensors.items() if name in state},
        tuple(name for name in tensors if name not in state),
        tuple(name for name in state if name not in tensors),
        tuple(name for name, value in tensors.items() if name in state and value.shape != state[name].shape),
    )
    check_whole(match, where, optional=lambda name: False)
    network.load_state_dict(match.tensors, strict=False)


def is_statistic(name: str) -> bool:
    """Whether a tensor is one of BatchNorm's statistics, which can be measured again."""
    return name.rpartition(".")[2] in (*STATISTICS, COUNTER)


def has_no_statistics(match: Match) -> bool:
    """Whether a file holds no running means and variances of BatchNorm, or those that every layer begins with: 0 and 1."""
    if any(name.rpartition(".")[2] in STATISTICS for name in match.missing):
        return True
    held = {name: value for name, value in match.tensors.items() if name.rpartition(".")[2] in STATISTICS}
    return bool(held) and all(bool((value == name.endswith("running_var")).all()) for name, value in held.items())


def _library_name(name: str) -> str:
    for pattern, replacement in RENAMED:
        name = pattern.sub(replacement, name)
    return name


def _prefix(expected: Tensors, given: Tensors) -> str | None:
    """What stands before the network's names in a file: `module.`, `model.`, `backbone.`, several, or nothing.

    Raises:
        DataError: Two whole networks are in the file, and neither is known for the other's moving average.
    """
    candidates = {name[: -len(own)] for own in _first_names(expected) for name in given if name.endswith(own)}
    found = {
        prefix: sum(prefix + name in given for name in expected)
        for prefix in sorted(candidates, key=lambda prefix: (len(prefix), prefix))
        if not prefix or prefix.endswith(".")
    }
    most = max(found.values(), default=0)
    if most <= len(expected) / 2:
        return None
    best = [prefix for prefix, count in found.items() if count == most]
    own = [prefix for prefix in best if not any(word in prefix for word in MOVING_AVERAGES)]
    if len(best) > 1 and len(own) != 1:
        raise DataError(f"model.weights: the file holds {len(best)} networks, {' and '.join(best)}; save one of them alone")
    return own[0] if own else best[0]


def _first_names(expected: Tensors) -> Iterator[str]:
    """A few names to look for, spread over the network."""
    names = list(expected)
    yield from names[:: max(1, len(names) // 4)]


def _match_in_order(expected: Tensors, given: Tensors, stems: Collection[str]) -> Match:
    """The file's tensors one after the other, where each has the shape and the last name (weight, bias ...) of the network's."""
    own = [name for name in expected if not name.endswith(COUNTER)]
    theirs = [name for name in given if not name.endswith(COUNTER)]
    tensors = {}
    for name, other in zip(own, theirs, strict=False):
        value = to_stem_channels(given[other], expected[name]) if name in stems else given[other]
        if value.shape != expected[name].shape or name.rpartition(".")[2] != other.rpartition(".")[2]:
            break
        tensors[name] = value
    rest = theirs[len(own) :]
    if len(tensors) < len(own) or len(rest) > MAX_CLASSIFIER or any(given[name].dim() > 2 for name in rest):
        return Match({}, tuple(given), tuple(expected))
    missing = tuple(name for name in expected if name.endswith(COUNTER))
    return Match(tensors, tuple(rest), missing, in_order=True)
