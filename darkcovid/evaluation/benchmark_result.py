"""What a benchmark against stock fastai measured, and the ratios that follow."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ContenderTiming:
    """One contender's epochs.

    Attributes:
        epoch_seconds: Of the median epoch, training and validation.
        images_per_second: Training images of that epoch per second.
        all_epoch_seconds: Of each counted epoch.
        peak_host_bytes: Of the process and its children.
        peak_device_bytes: Of the device.
        stages: Seconds of one further epoch, by what they were spent on.
    """

    epoch_seconds: float
    images_per_second: float
    all_epoch_seconds: list[float]
    peak_host_bytes: int
    peak_device_bytes: int
    stages: dict[str, float]


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """Stock fastai, the whole-image arm and the crop arm on the same images and split.

    Attributes:
        stock, whole, crop: Of each.
        machine: `processor`, its matrix `features`, `threads`, `device`, and the `precision` of the arms.
    """

    stock: ContenderTiming
    whole: ContenderTiming
    crop: ContenderTiming
    machine: dict[str, Any] = field(default_factory=dict)

    @property
    def contenders(self) -> dict[str, ContenderTiming]:
        """By name."""
        return {"stock": self.stock, "whole": self.whole, "crop": self.crop}

    def ratio(self, name: str) -> float:
        """How many times shorter a contender's median epoch is than stock fastai's."""
        return self.stock.epoch_seconds / self.contenders[name].epoch_seconds

    def as_dict(self) -> dict[str, Any]:
        """As `darkcovid bench --json` prints it."""
        return asdict(self) | {f"ratio_{name}": self.ratio(name) for name in ("whole", "crop")}
