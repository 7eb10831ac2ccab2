"""What a sweep found, typed: its `sweep.json`."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class TrialRecord:
    """One trial.

    Attributes:
        number: From 1, in the order in which they began; those that were cut short have numbers too.
        state: `complete`, `pruned`, `failed`, `interrupted` or `running`.
        values: By swept key.
        metric: Of a complete trial, on all inner folds together; of a pruned one, the last intermediate value.
        seconds: That it took.
        folds: Of a complete trial, the metric of each inner fold.
        plain: Whether it has the recipe's own values.
        reason: Why it failed.
    """

    number: int
    state: str
    values: dict[str, Any]
    metric: float | None
    seconds: float | None = None
    folds: tuple[float, ...] = ()
    plain: bool = False
    reason: str = ""


@dataclass(frozen=True)
class ConfirmedArm:
    """The winner or the plain recipe, fitted to the whole training set with fresh seeds and scored on the locked set.

    Attributes:
        arm: Its name in the final run.
        metric: The sweep's metric, over all seeds.
        interval: 95 %, over patients; None where there is none.
        mean: Over the seeds; None where the final run does not have it.
        sd: Of the seeds, n - 1; likewise.
        accuracy: Over all seeds.
    """

    arm: str
    metric: float | None
    interval: tuple[float, float] | None
    mean: float | None
    sd: float | None
    accuracy: float


@dataclass(frozen=True)
class SweepResult:
    """A sweep's `sweep.json`.

    Attributes:
        run_dir: The sweep's folder.
        recipe: The recipe's name.
        arm: The swept arm.
        metric: By which trials were judged.
        sampler: As the recipe says.
        pruner: As the recipe says.
        seed: As the recipe says.
        folds: Inner folds.
        training_images: That trials saw.
        locked: Images and patients of the set that the final figures are of, which no trial saw.
        trials: How many ended `complete`, `pruned`, `failed`, `interrupted`; how many of the first three have values of their own
            (`distinct`), how many were to be made (`planned`), and how many complete ones are as good as the best (`tied`).
        best: The best trial; its metric, the best of several, is too high as an estimate.
        plain: The trial of the recipe's own values; None where there was none.
        importance: Share of the metric's variance that each key explains.
        final_run: The folder of the final run.
        seeds: Fresh ones, of the final run.
        final: The plain recipe and, unless no value tried beat its own, the winner.
        difference: In the sweep's metric, winner less plain, with its 95 % interval; None where the final run does not have it.
        sentences: What may be said, the headline first.
        minutes: Of all trials together.
    """

    run_dir: str
    recipe: str
    arm: str
    metric: str
    sampler: str
    pruner: str
    seed: int
    folds: int
    training_images: int
    locked: dict[str, int]
    trials: dict[str, int]
    best: TrialRecord
    plain: TrialRecord | None
    importance: dict[str, float]
    final_run: str
    seeds: tuple[int, ...]
    final: dict[str, ConfirmedArm]
    difference: dict[str, float] | None
    sentences: tuple[str, ...]
    minutes: float

    def as_dict(self) -> dict[str, Any]:
        """As in `sweep.json`."""
        return asdict(self)
