"""What a fit wrote down: one row per epoch, one learning rate per step."""

from dataclasses import dataclass, field


@dataclass
class History:
    """One row per epoch: epoch (from 1), train_loss, valid_loss, the metric, lr at its end, and seconds spent: total,
    waiting for data (reading, moving and augmenting), in training steps, in validation. `lrs`: the learning rate of each step."""

    rows: list[dict[str, float]] = field(default_factory=list)
    lrs: list[float] = field(default_factory=list)

    @property
    def metric(self) -> str:
        """The metric's column, the one after the losses."""
        return list(self.rows[0])[3]

    def total(self, column: str) -> float:
        return sum(row[column] for row in self.rows)
