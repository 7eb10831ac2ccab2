"""One fit by several processes: who am I among them, and what do all of them say together?

They are started by `accelerate launch` or `torchrun`, which say in the environment who each of them is, and joined by torch: gloo
carries what lies in memory, NCCL what lies on GPUs.
"""

import atexit
import os
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import distributed


@dataclass(frozen=True, slots=True)
class Distributed:
    """`rank` of `size` processes; alone, rank 0 of 1, for which everything here does nothing."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def barrier(self) -> None:
        """Go on when all have come here."""
        if self.size > 1:
            distributed.barrier()

    def all_reduce(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of every process's tensor, on its device."""
        if self.size > 1:
            tensor = tensor.clone()
            distributed.all_reduce(tensor)
        return tensor

    def average_gradients(self, parameters: list[torch.nn.Parameter]) -> None:
        """Every gradient becomes the mean over all processes, sent as one tensor for each type of number."""
        every = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for kind in sorted({grad.dtype for grad in every}, key=str):  # in one order on every rank
            grads = [grad for grad in every if grad.dtype == kind]
            flat = torch.cat([grad.reshape(-1) for grad in grads])
            distributed.all_reduce(flat)
            parts = flat.div_(self.size).split([grad.numel() for grad in grads])
            for grad, part in zip(grads, parts, strict=True):
                grad.copy_(part.view_as(grad))

    def broadcast(self, tensors: list[torch.Tensor]) -> None:
        """Put the main process's values into these tensors, everywhere."""
        for tensor in tensors if self.size > 1 else ():
            distributed.broadcast(tensor, 0)

    def all_gather(self, value: Any) -> list[Any]:
        """Every process's value, by rank; values are small and picklable, and come from no file."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values

    def broadcast_object(self, value: Any) -> Any:
        """The main process's value."""
        return self.all_gather(value)[0]


ALONE = Distributed()


@cache
def join_process_group() -> Distributed:
    """This process's place; joins the others, once, when the environment says that there are some.

    Each process of a machine takes the GPU of its local rank.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if local < torch.cuda.device_count():
        torch.cuda.set_device(local)
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    atexit.register(distributed.destroy_process_group)  # its threads must end before the interpreter does, or it may abort
    return Distributed(distributed.get_rank(), distributed.get_world_size())
