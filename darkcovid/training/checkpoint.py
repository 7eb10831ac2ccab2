"""Stopping and going on: everything a run needs to end with the numbers it would have had, in one atomic file.

A safetensors file whose metadata is JSON: weights, optimizer state, every random generator, and the history.
No pickle is read or written.
"""

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastai.learner import Learner
from safetensors import SafetensorError

from darkcovid.core.distributed import ALONE, Distributed
from darkcovid.core.errors import DataError, one_line
from darkcovid.core.safetensors_io import read_safetensors, write_safetensors
from darkcovid.training.history import History


def rng_state(learner: Learner, distributed: Distributed = ALONE) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The state of every random generator that a fit draws from.

    Args:
        learner: Whose training loader has a generator of its own.
        distributed: Of several processes, torch's generator of each is kept.

    Returns:
        Python's, NumPy's and the loader's as JSON-able values; torch's and the devices' as tensors.
    """
    name, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002 (the one that fastai draws from)
    plain = {
        "python": random.getstate(),
        "loader": learner.dls.train.rng.getstate(),
        "numpy": [name, np.asarray(keys).tolist(), position, has_gauss, gauss],
    }
    tensors = {f"torch{_rank_suffix(rank)}": state for rank, state in enumerate(distributed.all_gather(torch.get_rng_state()))}
    if torch.cuda.is_available():
        tensors |= {f"cuda.{i}": state for i, state in enumerate(torch.cuda.get_rng_state_all())}
    return plain, tensors


def _rank_suffix(rank: int) -> str:
    return f".rank{rank}" if rank else ""


def set_rng_state(
    learner: Learner, plain: dict[str, Any], tensors: dict[str, torch.Tensor], distributed: Distributed = ALONE
) -> None:
    """Put back what `rng_state` took.

    Args:
        learner: Whose training loader has a generator of its own.
        plain: The JSON-able values.
        tensors: The tensors.
        distributed: This process's place, which says whose torch generator is put back.
    """
    random.setstate(_as_tuples(plain["python"]))
    learner.dls.train.rng.setstate(_as_tuples(plain["loader"]))
    name, keys, *rest = plain["numpy"]
    np.random.set_state((name, np.array(keys, np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(tensors[f"torch{_rank_suffix(distributed.rank)}"])
    cuda = [tensors[name] for name in sorted(tensors) if name.startswith("cuda.")]
    if cuda and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(cuda)


@dataclass(frozen=True)
class CheckpointState:
    """What a checkpoint gives back beside the learner's state.

    Attributes:
        history: The epochs so far.
        notes: JSON-able notes.
        kept: Named copies of the weights.
    """

    history: History
    notes: dict[str, Any]
    kept: dict[str, dict[str, torch.Tensor]]


def save_checkpoint(
    path: Path,
    learner: Learner,
    history: History,
    notes: dict[str, Any],
    kept: dict[str, dict[str, torch.Tensor]],
    distributed: Distributed = ALONE,
) -> None:
    """Write the learner's state after an epoch; of several processes, the main one writes.

    Args:
        path: The file.
        learner: Its model, optimizer and generators are saved.
        history: The epochs so far.
        notes: JSON-able notes.
        kept: Named copies of the weights.
        distributed: This process's place.
    """
    plain_rng, rng_tensors = rng_state(learner, distributed)
    tensors = {f"model.{name}": value for name, value in learner.model.state_dict().items()}
    tensors |= {f"rng.{name}": value for name, value in rng_tensors.items()}
    for name, weights in kept.items():
        tensors |= {f"kept.{name}.{key}": value for key, value in weights.items()}
    scalars = []
    state = learner.opt.state_dict()
    for index, values in enumerate(state["state"]):
        tensors |= {f"opt.{index}.{key}": value for key, value in values.items() if torch.is_tensor(value)}
        scalars.append({key: value for key, value in values.items() if not torch.is_tensor(value)})
    about = {
        "rng": plain_rng,
        "opt": {"scalars": scalars, "hypers": [dict(group) for group in state["hypers"]]},
        "history": asdict(history),
        "notes": notes,
        "kept": list(kept),
    }
    if distributed.is_main:
        write_safetensors(path, tensors, about)


def load_checkpoint(
    path: Path,
    learner: Learner,
    freeze_for: Callable[[int], None] = lambda done: None,
    distributed: Distributed = ALONE,
) -> CheckpointState:
    """Put a saved state back into a learner whose optimizer exists.

    Args:
        path: The file.
        learner: Gets model, optimizer and generators.
        freeze_for: Called before the optimizer's state is put back, with the number of epochs done, to bring frozen layers
            into the
            state of the last of them.
        distributed: This process's place.

    Returns:
        What else was saved.

    Raises:
        DataError: The file is damaged or belongs to another network.
    """
    try:
        tensors, about = read_safetensors(path)
        learner.model.load_state_dict(_under(tensors, "model."))
        kept = {name: _on(learner.dls.device, _under(tensors, f"kept.{name}.")) for name in about["kept"]}
        freeze_for(len(about["history"]["rows"]))
        state = [
            scalars | _on(learner.dls.device, _under(tensors, f"opt.{index}."))
            for index, scalars in enumerate(about["opt"]["scalars"])
        ]
        learner.opt.load_state_dict({"state": state, "hypers": about["opt"]["hypers"]})
        set_rng_state(learner, about["rng"], _under(tensors, "rng."), distributed)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        reason = one_line(error)[:200]
        raise DataError(f"{path}: not a usable checkpoint ({reason}); start again without --resume") from None
    return CheckpointState(History(**about["history"]), about["notes"], kept)


def _under(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _on(device: torch.device, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.to(device) for name, value in tensors.items()}


def _as_tuples(value: Any) -> Any:
    return tuple(_as_tuples(item) for item in value) if isinstance(value, list | tuple) else value
