"""What the numbers of a run depend on besides its recipe: versions, machine, command."""

import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from pydantic import TypeAdapter

from darkcovid import __version__
from darkcovid.core.cpu_threads import choose_cpu_threads
from darkcovid.core.credentials import without_credentials

LIBRARIES = ("torch", "torchvision", "fastai", "segmentation-models-pytorch", "timm", "scikit-learn", "numpy", "pillow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A run folder's `environment.json`.

    Attributes:
        darkcovid: Its version.
        python: Its version.
        platform: Operating system and processor.
        processors: How many there are.
        torch_threads: How many torch computes with.
        cpu_threads: How many processors this process may use, what other work used, and what was set because of it.
        cuda_devices: Names of the GPUs.
        libraries: Versions by name; None where one is not installed.
        command: As it was given, but for passwords in addresses.
    """

    darkcovid: str | None = None
    python: str | None = None
    platform: str | None = None
    processors: int | None = None
    torch_threads: int | None = None
    cpu_threads: dict[str, Any] = field(default_factory=dict)
    cuda_devices: list[str] = field(default_factory=list)
    libraries: dict[str, str | None]
    command: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """As in `environment.json`."""
        return asdict(self)

    def facts(self) -> dict[str, Any]:
        """Everything but the command, the libraries' versions side by side with the rest."""
        other = ("libraries", "command", "cpu_threads")
        return {name: value for name, value in self.as_dict().items() if name not in other} | self.libraries

    def differences(self, now: "Environment") -> dict[str, list[Any]]:
        """What is different in a later environment: {what: [then, now]}."""
        then, later = self.facts(), now.facts()
        return {name: [then.get(name), later.get(name)] for name in then | later if then.get(name) != later.get(name)}


_ENVIRONMENT = TypeAdapter(Environment)


def parse_environment(json: Mapping[str, Any]) -> Environment:
    """Of an `environment.json`.

    Raises:
        ValueError: It is damaged.
    """
    return _ENVIRONMENT.validate_python(json)


def current_environment() -> Environment:
    """Of this process."""
    import torch

    return Environment(
        darkcovid=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        processors=os.cpu_count(),
        torch_threads=torch.get_num_threads(),
        cpu_threads=choose_cpu_threads().as_dict(),
        cuda_devices=[torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        libraries={name: _version(name) for name in LIBRARIES},
        command=["darkcovid", *map(without_credentials, sys.argv[1:])],
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
