"""How long does training take until a network is as accurate as asked? Curves of validation accuracy over seconds."""

from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import Any

SMOOTHED = 3  # epochs whose mean accuracy has to reach the target: one epoch alone may be lucky


@dataclass(frozen=True, slots=True)
class AccuracyCurve:
    """One contender's epochs.

    Attributes:
        seconds: Of training and validation until the end of each epoch.
        accuracy: On the validation set after each epoch.
        epochs: Of its schedule.
    """

    seconds: list[float]
    accuracy: list[float]
    epochs: int

    @classmethod
    def of(cls, epoch_seconds: list[float], accuracy: list[float], epochs: int) -> "AccuracyCurve":
        """A curve of seconds per epoch.

        Args:
            epoch_seconds: Of each epoch.
            accuracy: After each epoch.
            epochs: Of the schedule.

        Returns:
            The curve.
        """
        return cls(list(accumulate(epoch_seconds)), accuracy, epochs)

    @property
    def smoothed(self) -> list[float | None]:
        """Mean accuracy of each epoch and the two before it; None for the first two."""
        means = [sum(self.accuracy[end - SMOOTHED : end]) / SMOOTHED for end in range(SMOOTHED, len(self.accuracy) + 1)]
        return ([None] * (SMOOTHED - 1) + means)[: len(self.accuracy)]

    def reached(self, target: float) -> float | None:
        """Seconds until the smoothed accuracy was at least `target`; None where it never was."""
        pairs = zip(self.seconds, self.smoothed, strict=True)
        return next((seconds for seconds, mean in pairs if mean is not None and mean >= target), None)


@dataclass(frozen=True, slots=True)
class TimeToAccuracy:
    """Stock fastai, the whole-image arm and the crop arm on the same images and split.

    Attributes:
        target: The accuracy asked for.
        contenders: By name.
        machine: As in `BenchmarkResult`.
    """

    target: float
    contenders: dict[str, AccuracyCurve]
    machine: dict[str, Any] = field(default_factory=dict)

    def ratio(self, name: str) -> float | None:
        """How many times sooner than stock fastai a contender reached the target; None where one of the two did not."""
        stock, own = (self.contenders[label].reached(self.target) for label in ("stock", name))
        return None if stock is None or own is None else stock / own

    def as_dict(self) -> dict[str, Any]:
        """As `darkcovid bench --to-accuracy --json` prints it."""
        curves = {
            name: asdict(curve) | {"seconds_to_target": curve.reached(self.target)} for name, curve in self.contenders.items()
        }
        return (
            {"target": self.target, "smoothed_epochs": SMOOTHED, "machine": self.machine}
            | curves
            | {f"ratio_{name}": self.ratio(name) for name in self.contenders if name != "stock"}
        )
