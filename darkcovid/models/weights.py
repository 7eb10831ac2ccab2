"""Where do a network's first weights come from? Fresh, ImageNet's from the library that trained them, or a local file.

Files are read as safetensors or with torch's `weights_only`; no pickle is run.
"""

from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import nn

from darkcovid.core.errors import DataError, UsageError, one_line
from darkcovid.core.safetensors_io import read_safetensors
from darkcovid.recipe import Model

SHOWN = 3


def load_weights(network: nn.Module, model: Model, pretrained: bool) -> None:
    """Put the weights that `model.weights` names into a network.

    Args:
        network: Changed in place.
        model: The recipe's section.
        pretrained: Whether the architecture knows ImageNet weights.

    Raises:
        UsageError: ImageNet weights of a network that has none.
        DataError: A file that is missing, not readable or of another network, or ImageNet weights that cannot be fetched.
    """
    if model.weights == "none":
        return
    if model.weights == "imagenet":
        if not pretrained:
            raise UsageError(f"model.weights: there are no ImageNet weights for {model.arch}; use none, or name a file")
        load_imagenet = getattr(network, "load_imagenet")  # noqa: B009 (a transfer learner's, which imports this module)
        load_imagenet()
        return
    tensors = {
        name: value for name, value in load_state_dict_file(Path(model.weights)).items() if not name.startswith("normaliser.")
    }
    body = getattr(network, "load_body", None)
    if body is not None and not any(name.startswith(("body.", "head.")) for name in tensors):
        body(tensors, model.weights)
        return
    load_state_dict_strict(network, tensors, model.weights)


def load_state_dict_file(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors or .pth file, by name.

    Raises:
        DataError: Absent, damaged, or not a mapping of tensors (a ValueError inside).
    """
    try:
        if path.suffix == ".safetensors":
            return read_safetensors(path)[0]
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        tensors = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else loaded
        if not isinstance(tensors, dict) or not all(torch.is_tensor(value) for value in tensors.values()):
            raise ValueError("it does not hold a mapping of tensors")
    except FileNotFoundError:
        raise DataError(f"model.weights: {path}: no such file; name a .safetensors or .pth file, imagenet, or none") from None
    except (OSError, SafetensorError, ValueError, RuntimeError, EOFError) as error:
        raise DataError(f"model.weights: {path}: not readable as weights ({one_line(error)[:120]})") from None
    except Exception as error:  # noqa: BLE001 (unpickling refuses in many ways, none of which is ours)
        raise DataError(f"model.weights: {path}: refused, it is not a plain file of weights ({one_line(error)[:80]})") from None
    return tensors


def load_state_dict_strict(
    network: nn.Module, tensors: dict[str, torch.Tensor], where: str, names: dict[str, str] | None = None
) -> None:
    """Load tensors into a network, all of them and nothing less.

    Args:
        network: Changed in place.
        tensors: By name.
        where: They come from, for messages.
        names: How each of the network's own is called in `tensors`; None: alike.

    Raises:
        DataError: Some are missing, unknown or of another shape; which is said.
    """
    state = network.state_dict()
    names = names or {name: name for name in state}
    expected = {names[name]: value for name, value in state.items()}
    missing = [name for name in expected if name not in tensors]
    unknown = [name for name in tensors if name not in expected]
    other = [name for name, value in tensors.items() if name in expected and value.shape != expected[name].shape]
    faults = [
        f"{len(affected)} {kind}: {', '.join(affected[:SHOWN])}{', ...' if len(affected) > SHOWN else ''}"
        for kind, affected in (("missing", missing), ("unknown", unknown), ("of another shape", other))
        if affected
    ]
    if faults:
        raise DataError(f"model.weights: {where}: weights of another network ({'; '.join(faults)})")
    network.load_state_dict({name: tensors[names[name]] for name in state})
