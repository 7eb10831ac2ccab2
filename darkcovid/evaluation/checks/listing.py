"""What a believable result must pass, one row each: pass, warn, fail, not run, or for the author to answer.

After Roberts et al. 2021, DeGrave et al. 2021, Maguolo and Nanni 2021, Garcia Santa Cruz et al. 2021, CLAIM, TRIPOD+AI and
PROBAST+AI. Everything is read from a run folder's own files.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from darkcovid.recipe import AUDIT

PASS, WARN, FAIL, NOT_RUN, AUTHOR = "pass", "warn", "fail", "not run", "needs the author"
CLOSE = 0.05  # a score without lungs that comes so near the model's own is too near


@dataclass(frozen=True)
class Evidence:
    """A run's files, read: the resolved recipe, comparison.json, audit.json (empty where none was made), environment.json,
    and for each arm the images of each side."""

    recipe: dict[str, Any]
    comparison: dict[str, Any]
    audit: dict[str, Any]
    environment: dict[str, Any]

    @property
    def arms(self) -> dict[str, dict[str, Any]]:
        """The arms that were asked for."""
        return {name: arm for name, arm in self.comparison["arms"].items() if not name.startswith(AUDIT)}

    def retrained(self, name: str) -> dict[str, Any] | None:
        """An arm of `audit: retrain`, None where there was none."""
        return self.comparison["arms"].get(f"{AUDIT}{name}")

    @property
    def best(self) -> float:
        """The highest accuracy of any arm."""
        return max(arm["accuracy"] for arm in self.arms.values())


@dataclass(frozen=True, slots=True)
class Check:
    """number, name: of the list; status: one of the five; words: what was found."""

    number: int
    group: str
    name: str
    status: str
    words: str


Answer = tuple[str, str]
_TABLE: list[tuple[int, str, str, Callable[[Evidence], Answer]]] = []


def run_checks(evidence: Evidence) -> list[Check]:
    """Every check in order."""
    return [
        Check(number, group, name, *answer(evidence)) for number, group, name, answer in sorted(_TABLE, key=lambda row: row[0])
    ]


def check(number: int, group: str, name: str):
    def register(answer: Callable[[Evidence], Answer]):
        _TABLE.append((number, group, name, answer))
        return answer

    return register


def audited(answer: Callable[[Evidence], Answer]) -> Callable[[Evidence], Answer]:
    """A check that reads audit.json."""
    return lambda evidence: answer(evidence) if evidence.audit else (NOT_RUN, "the recipe says audit: none")
