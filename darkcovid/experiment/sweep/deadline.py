"""When must trials end, so that the winner can still be fitted?"""

import math
import time
from dataclasses import dataclass, field


class OutOfTime(Exception):
    """The time for trials is over."""


@dataclass(frozen=True)
class Deadline:
    """When trials end, so that there is time to fit the winner.

    Attributes:
        minutes: Of the whole sweep; None: no end.
        began: As `time.monotonic` has it.
    """

    minutes: float | None = None
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds_left(self) -> float:
        """Until the end of the whole sweep; infinite where there is none."""
        return math.inf if self.minutes is None else max(0.0, 60 * self.minutes - (time.monotonic() - self.began))

    def is_over(self, reserved_seconds: float) -> bool:
        """Whether no more than the reserved seconds are left."""
        return self.seconds_left <= reserved_seconds
