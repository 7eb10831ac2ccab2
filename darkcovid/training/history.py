"""What a fit wrote down: one row per epoch, one learning rate per step."""

from dataclasses import dataclass, field


@dataclass
class History:
    """The course of one fit.

    Attributes:
        metric: Name of the validation set's metric, "accuracy" or "dice", a column of `rows`.
        rows: One per epoch: epoch (from 1), train_loss, valid_loss, the metric, lr at its end; the seconds spent: in all
            (`seconds`), waiting for data, that is, reading, moving and augmenting (`data_seconds`), in training steps
            (`step_seconds`), in validation (`valid_seconds`); and how many images the steps saw (`train_images`).
        lrs: Learning rate of each step.
    """

    metric: str
    rows: list[dict[str, float]] = field(default_factory=list)
    lrs: list[float] = field(default_factory=list)

    def total(self, column: str) -> float:
        """The sum of a column over all epochs."""
        return sum(row[column] for row in self.rows)

    def complete_last(self, column: str, value: float) -> None:
        """Add a column to the newest row.

        Args:
            column: Its name.
            value: Of the epoch.
        """
        self.rows[-1][column] = value
