"""The best arms of many runs by a metric, ranked only among those that were scored on the same images of the same patients."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from darkcovid.core.errors import UsageError
from darkcovid.experiment.run_list import DAMAGE, RunInfo
from darkcovid.experiment.run_state import RUN
from darkcovid.experiment.run_summary import COSTS, ArmSummary, ScoredImages, read_scored_images
from darkcovid.recipe import LOWER_IS_BETTER
from darkcovid.recipe.errors import suggest_name

UNKNOWN = ScoredImages("", 0, 0, "")


@dataclass(frozen=True, slots=True)
class RankedArm:
    """An arm, its metric and that metric's 95 % interval, None where there is none."""

    run: RunInfo
    arm: str
    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Ranking:
    """Arms that were scored on the same images, the best first; `scored` has no images where that is not known."""

    scored: ScoredImages
    arms: tuple[RankedArm, ...]

    def as_dict(self) -> dict[str, Any]:
        """As `runs best --json` prints it."""
        return {
            "set": self.scored.set,
            "images": self.scored.images,
            "patients": self.scored.patients,
            "digest": self.scored.digest,
            "runs": len({ranked.run.path for ranked in self.arms}),
            "arms": [
                {
                    "run": ranked.run.name,
                    "run_dir": str(ranked.run.path),
                    "arm": ranked.arm,
                    "value": ranked.value,
                    "interval": ranked.interval,
                    "tags": list(ranked.run.notes.tags),
                }
                for ranked in self.arms
            ],
        }


def rank_runs(runs: Iterable[RunInfo], by: str) -> list[Ranking]:
    """Rank the arms of finished runs.

    Args:
        runs: Those that are not finished are passed by, audits, and sweeps, whose final runs are runs of their own.
        by: A metric, such as `balanced_accuracy`, `roc_auc`, `covid.recall`, `dice` or `train_seconds`.

    Returns:
        One ranking for each set of images that arms were scored on, the one of most arms first; arms of which that is not known
        come last, in rankings of one arm each.

    Raises:
        UsageError: No run has this metric.
    """
    arms = [(run, name, arm) for run in runs if run.summary and run.kind == RUN for name, arm in run.summary.arms.items()]
    if not arms:
        raise UsageError("no finished run with arms is here; `darkcovid runs list` shows what is")
    known = {metric: None for _, _, arm in arms for metric in arm.metrics}
    if by not in known:
        raise UsageError(f"--by {by}: no run has this metric{suggest_name(by, known)}")
    groups: dict[str, list[RankedArm]] = {}
    scored_of: dict[str, ScoredImages] = {}
    for run, name, arm in arms:
        if by not in arm.metrics:
            continue
        scored = _scored(run, name, arm)
        key = scored.digest or f"{run.path}/{name}"
        scored_of[key] = scored
        groups.setdefault(key, []).append(RankedArm(run, name, arm.metrics[by], arm.intervals.get(by)))
    sign = 1 if by in (*LOWER_IS_BETTER, *COSTS) else -1
    rankings = [
        Ranking(scored_of[key], tuple(sorted(of_key, key=lambda ranked: (sign * ranked.value, ranked.run.name, ranked.arm))))
        for key, of_key in groups.items()
    ]
    return sorted(rankings, key=lambda ranking: (not ranking.scored.digest, -len(ranking.arms)))


def advice(rankings: Sequence[Ranking], by: str) -> list[str]:
    """What a ranking does not say.

    Args:
        rankings: As `rank_runs` gives them.
        by: The metric.

    Returns:
        Sentences.
    """
    said = []
    if len(rankings) > 1:
        said.append(
            f"{len(rankings)} rankings, not one: these runs were scored on {len(rankings)} different sets of images or patients, "
            "and metrics of different patients cannot be compared."
        )
    most = max(len(ranking.arms) for ranking in rankings)
    if most > 1 and by not in COSTS:
        said.append(
            f"The best of {most} arms on the same patients looks better than it is, since chance had {most} tries; `darkcovid "
            "compare RUN RUN` tests two on the same patients, and only patients that nobody looked at yet confirm the choice."
        )
    return said


def _scored(run: RunInfo, name: str, arm: ArmSummary) -> ScoredImages:
    if arm.scored is not None:
        return arm.scored
    try:
        return read_scored_images(run.path / name)
    except DAMAGE:
        return replace(UNKNOWN)
