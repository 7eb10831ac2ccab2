"""One fit by several processes: who am I among them, and what do all of them say together?

They are started by `accelerate launch` or `torchrun`, and joined by accelerate (gloo between CPUs, NCCL between GPUs).
"""

import atexit
import os
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import distributed

from darkcovid.core.errors import DarkCovidError


@dataclass(frozen=True, slots=True)
class Distributed:
    """`rank` of `size` processes; alone, rank 0 of 1, for which everything here does nothing."""

    rank: int = 0
    size: int = 1

    @property
    def main(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def wait(self) -> None:
        """Go on when all have come here."""
        if self.size > 1:
            distributed.barrier()

    def total(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of every process's tensor, on its device."""
        if self.size > 1:
            tensor = tensor.clone()
            distributed.all_reduce(tensor)
        return tensor

    def average_gradients(self, parameters: list[torch.nn.Parameter]) -> None:
        """Every gradient becomes the mean over all processes, sent as one tensor for each type of number."""
        for kind in sorted({parameter.grad.dtype for parameter in parameters}, key=str):  # in one order on every rank
            grads = [parameter.grad for parameter in parameters if parameter.grad.dtype == kind]
            flat = torch.cat([grad.reshape(-1) for grad in grads])
            distributed.all_reduce(flat)
            parts = flat.div_(self.size).split([grad.numel() for grad in grads])
            for grad, part in zip(grads, parts, strict=True):
                grad.copy_(part.view_as(grad))

    def as_main_has(self, tensors: list[torch.Tensor]) -> None:
        """Put the main process's values into these tensors, everywhere."""
        for tensor in tensors if self.size > 1 else ():
            distributed.broadcast(tensor, 0)

    def each(self, value: Any) -> list[Any]:
        """Every process's value, by rank; values are small and picklable, and come from no file."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        distributed.all_gather_object(found, value)
        return found

    def mains(self, value: Any) -> Any:
        """The main process's value."""
        return self.each(value)[0]


@cache
def get_distributed() -> Distributed:
    """This process's place; joins the others when the environment says that there are some.

    Raises DarkCovidError: accelerate is not installed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Distributed()
    try:
        from accelerate import PartialState
    except ImportError:
        raise DarkCovidError("several processes need accelerate; install `darkcovid[distributed]`") from None
    state = PartialState(cpu=not torch.cuda.is_available())
    atexit.register(distributed.destroy_process_group)  # its threads must end before the interpreter does, or it may abort
    return Distributed(state.process_index, state.num_processes)
