"""Several processes fit one network: each takes its share of every batch, and all take the same steps."""

from torch import nn

from darkcovid.errors import RequestError
from darkcovid.ranks import Ranks
from darkcovid.training.callbacks import Direct


class Together(Direct):
    """Gradients are averaged over the processes before anything else sees them; the main process's weights are everybody's at
    the beginning, and its BatchNorm statistics before every validation.

    fastai's own callbacks for this (`DistributedTrainer`) move indices and BatchNorm to CUDA, so they cannot run on CPUs.
    """

    order = -100

    def __init__(self, ranks: Ranks):
        self.ranks = ranks

    def before_fit(self):
        self._share([*self.model.parameters(), *self.model.buffers()])

    def after_backward(self):
        self.ranks.average_gradients([one for one in self.model.parameters() if one.grad is not None])

    def before_validate(self):
        self._share(list(self.model.buffers()))

    def _share(self, tensors: list) -> None:
        self.ranks.as_main_has([tensor.data if isinstance(tensor, nn.Parameter) else tensor for tensor in tensors])


def refuse_uneven_batches(batch_size: int, ranks: Ranks) -> None:
    """Raises RequestError when a batch cannot be dealt out evenly."""
    if batch_size % ranks.size:
        raise RequestError(f"training.batch_size: {batch_size} cannot be dealt out evenly to {ranks.size} processes")


def refuse_disagreement(what: dict[str, str], ranks: Ranks) -> None:
    """Raises RequestError where processes were given different things. what: each thing's name and digest."""
    everyones = ranks.each(what)
    for rank, other in enumerate(everyones):
        for name in what:
            if other[name] != everyones[0][name]:
                raise RequestError(f"process {rank} has another {name} than process 0; start all alike, on the same files")
