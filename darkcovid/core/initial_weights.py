"""What a network began with, as it is printed and kept in `metrics.json`."""

from dataclasses import asdict, dataclass, replace
from typing import Any

NAMED = 4


@dataclass(frozen=True)
class InitialWeights:
    """What a network began with.

    Attributes:
        source: A file, or ImageNet weights and where they were found.
        loaded: Number of tensors that were taken.
        skipped: Names of the source's tensors that were not, such as its classifier's.
        initialized: Names of the network's tensors that were drawn at random.
        in_order: Whether tensors were matched by their order and shapes, since their names are another program's.
        batch_norm: `loaded`; `missing`, where the source holds no statistics; or `re-estimated` on training images.
    """

    source: str
    loaded: int
    skipped: tuple[str, ...]
    initialized: tuple[str, ...]
    in_order: bool = False
    batch_norm: str = "loaded"

    def reestimated(self) -> "InitialWeights":
        """The same after BatchNorm's statistics were measured on training images."""
        return replace(self, batch_norm="re-estimated")

    def as_dict(self) -> dict[str, Any]:
        """As in `metrics.json`."""
        return asdict(self)

    def __str__(self) -> str:
        """One line for a person."""
        parts = [f"{self.loaded} tensors of {self.source}" + (" by their order" if self.in_order else "")]
        if self.skipped:
            parts.append(f"{len(self.skipped)} not used ({_named(self.skipped)})")
        if self.initialized:
            parts.append(f"{len(self.initialized)} newly initialized ({_named(self.initialized)})")
        if self.batch_norm != "loaded":
            parts.append(f"BatchNorm statistics {self.batch_norm}")
        return "initial weights: " + "; ".join(parts)


def _named(names: tuple[str, ...]) -> str:
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
