"""Weights on disk: safetensors, whole or not at all, with JSON in their metadata. No pickle is written."""

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from darkcovid.core.io import atomic_path

FULL = ("No space left", "StorageFull", "code: 28")


def read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], Any]:
    """The tensors of a safetensors file, and the metadata that `write_safetensors` writes.

    Returns:
        Tensors by name; the metadata, None for a file of another program.

    Raises:
        OSError: The file cannot be read.
        SafetensorError: It is damaged.
        ValueError: Its metadata is not JSON.
    """
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        text = (file.metadata() or {}).get("darkcovid")
    return tensors, None if text is None else json.loads(text)


def write_safetensors(path: Path, tensors: Mapping[str, torch.Tensor], about: Any) -> None:
    """Copies of tensors and JSON-able metadata in one file, whole or not at all.

    Args:
        path: The file.
        tensors: By name.
        about: JSON-able, kept in the file's metadata under `darkcovid`.

    Raises:
        OSError: The file cannot be written.
    """
    owned = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(owned, temporary, metadata={"darkcovid": json.dumps(about)})
        except SafetensorError as error:
            if any(message in str(error) for message in FULL):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from None
            raise
