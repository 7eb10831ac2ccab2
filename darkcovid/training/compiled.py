"""Fitting a compiled network: torch.compile. Never by default: on CPUs it costs more than it saves. Its mode `reduce-overhead`
(CUDA graphs) is not used: DarkCovidNet's training step fails in it (torch 2.11, H200)."""

from torch import nn

from darkcovid.training.callbacks import PlainErrorsCallback


class TorchCompileCallback(PlainErrorsCallback):
    """The network is compiled while it is fitted and plain again afterwards, for whoever looks into its layers. Its weights and
    their names stay as they are."""

    order = -90

    def before_fit(self):
        self.model.compile()

    def after_fit(self):
        uncompile(self.model)


def uncompile(network: nn.Module) -> None:
    """Undo `Module.compile`, for which torch has no public way."""
    network._compiled_call_impl = None
