"""Several processes fit one network: each takes its share of every batch, and all take the same steps."""

import os

import torch
from torch import nn

from darkcovid.core.distributed import Distributed
from darkcovid.core.errors import UsageError
from darkcovid.training.callbacks import PlainErrorsCallback


class DistributedDataParallelCallback(PlainErrorsCallback):
    """Keeps the processes of one fit in step.

    Gradients are averaged over the processes before anything else sees them; the main process's weights are everybody's at
    the
    beginning, and its BatchNorm statistics before every validation. fastai's own callbacks for this (`DistributedTrainer`)
    move
    indices and BatchNorm to CUDA, so they cannot run on CPUs.

    Args:
        ranks: This process's place.
    """

    order = -100

    def __init__(self, ranks: Distributed):
        self.ranks = ranks

    def before_fit(self):
        self._share([*self.model.parameters(), *self.model.buffers()])

    def after_backward(self):
        self.ranks.average_gradients([parameter for parameter in self.model.parameters() if parameter.grad is not None])

    def before_validate(self):
        self._share(list(self.model.buffers()))

    def _share(self, tensors: list) -> None:
        self.ranks.broadcast([tensor.data if isinstance(tensor, nn.Parameter) else tensor for tensor in tensors])


def check_batch_divisible(batch_size: int, ranks: Distributed) -> None:
    """Refuse a batch that cannot be dealt out evenly.

    Args:
        batch_size: Images.
        ranks: Among which it is dealt out.

    Raises:
        UsageError: It is no multiple of their number.
    """
    if batch_size % ranks.size:
        raise UsageError(f"training.batch_size: {batch_size} cannot be dealt out evenly to {ranks.size} processes")


def check_one_gpu_per_process(device: torch.device) -> None:
    """Refuse processes of this machine that would share a GPU, which NCCL does not allow.

    Raises:
        UsageError: There are more processes than GPUs.
    """
    processes, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
    if device.type == "cuda" and processes > gpus:
        advice = f"start {gpus} here, or train on CPUs with --set training.device=cpu"
        raise UsageError(f"training.device: {processes} processes for {gpus} GPU{'s' * (gpus != 1)}; {advice}")


def check_ranks_agree(what: dict[str, str], ranks: Distributed) -> None:
    """Refuse processes that were given different things.

    Args:
        what: Each thing's name and digest.
        ranks: This process's place.

    Raises:
        UsageError: A digest differs from the main process's.
    """
    everyones = ranks.all_gather(what)
    for rank, other in enumerate(everyones):
        for name in what:
            if other[name] != everyones[0][name]:
                raise UsageError(f"process {rank} has another {name} than process 0; start all alike, on the same files")
