"""Which fit of an arm? One is trained for each of `training.folds` and `training.seeds`."""

from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FitId:
    """One fit of an arm. `str` of it names its folder: `fold1-seed7`, or nothing for the only fit of an arm.

    Attributes:
        fold: From 1; None where the recipe has no `training.folds`.
        seed: None where the recipe has no `training.seeds`.
    """

    fold: int | None = None
    seed: int | None = None

    def __str__(self) -> str:
        return "-".join(f"{name}{number}" for name, number in asdict(self).items() if number is not None)

    def name(self, arm: str) -> str:
        """For a person: `arm`, or `arm/fold1-seed7`."""
        return f"{arm}/{self}".rstrip("/")

    def folder(self, arm: Path) -> Path:
        """Its folder within that of its arm, which is the arm's own where there is one fit."""
        return arm / str(self)


@dataclass(frozen=True, slots=True)
class FitSelector:
    """Some of an arm's fits: those of one fold, of one seed, or of both; None means all."""

    fold: int | None = None
    seed: int | None = None

    def matches(self, fit: FitId) -> bool:
        """Whether `fit` is selected."""
        return self.fold in (None, fit.fold) and self.seed in (None, fit.seed)

    def __str__(self) -> str:
        return ", ".join(f"{name}{number}" for name, number in asdict(self).items() if number is not None) or "all fits"


def without_seed(name: str) -> str:
    """A fit's name without its seed: `fold2` of `fold2-seed1`."""
    return "-".join(word for word in name.split("-") if not word.startswith("seed"))
