"""An exponential moving average of the weights (EMA), which is validated and kept in their place."""

from darkcovid.training.callbacks import WeightTracker
from darkcovid.training.history import History

EMA_WARMUP_STEPS = 10  # steps: until then the average forgets faster, so that fresh weights do not linger


class ModelEma(WeightTracker):
    """An exponential moving average of the weights (Polyak and Juditsky 1992), on which validation is done.

    BatchNorm's running statistics are averaged along.

    Args:
        history: Whose steps are counted.
        decay: Of the average, in 0..1.
    """

    name, order = "average", 50

    def __init__(self, history: History, decay: float):
        super().__init__()
        self.history, self.decay = history, decay

    def after_step(self):
        kept = self.remember() if self.kept is None else self.kept
        steps = len(self.history.lrs) + 1
        decay = min(self.decay, steps / (steps + EMA_WARMUP_STEPS))
        for name, value in self.learn.model.state_dict().items():
            if value.is_floating_point():
                kept[name].lerp_(value.detach(), 1 - decay)
            else:
                kept[name].copy_(value)

    def before_validate(self):
        self.own = {name: value.detach().clone() for name, value in self.learn.model.state_dict().items()}
        self.learn.model.load_state_dict(self.kept)

    def after_validate(self):
        self.learn.model.load_state_dict(self.own)
