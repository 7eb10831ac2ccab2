"""What a believable result must pass, one row each, and what its author must declare.

A check can fail, or warn, and is counted; a declaration is information, for which nothing but "stated" and "needs the author" is
possible, and is not. After Roberts et al. 2021, DeGrave et al. 2021, Maguolo and Nanni 2021, Garcia Santa Cruz et al. 2021,
CLAIM, TRIPOD+AI and PROBAST+AI. Everything is read from a run folder's own files.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from darkcovid.audits.findings import DataAudit
from darkcovid.audits.subject import DECLARATIONS, AuditSubject
from darkcovid.core.environment import Environment
from darkcovid.core.errors import UsageError
from darkcovid.evaluation.results import ArmMetrics, ClassifierArm, Comparison, SetMetrics
from darkcovid.recipe import AUDIT
from darkcovid.recipe.recipe import check_arms_comparable, validate
from darkcovid.recipe.sections import PROBES

PASS, WARN, FAIL, NOT_RUN, AUTHOR, STATED = "pass", "warn", "fail", "not run", "needs the author", "stated"
CLOSE = 0.05  # a score without lungs that comes so near the model's own is too near


@dataclass(frozen=True)
class RunEvidence:
    """A run's files, read: the resolved recipe, comparison.json, audit.json (None where none was made) and environment.json; of
    what was made elsewhere, no recipe but subject.json."""

    recipe: dict[str, Any]
    comparison: Comparison
    audit: DataAudit | None
    environment: Environment
    subject: AuditSubject | None = None

    @property
    def name(self) -> str:
        """Of the recipe, or of what was made elsewhere."""
        return self.subject.name if self.subject else self.recipe["name"]

    @cached_property
    def classifiers(self) -> dict[str, ClassifierArm]:
        """Every arm that is a classifier."""
        return {name: arm for name, arm in self.comparison.arms.items() if isinstance(arm, ClassifierArm)}

    @cached_property
    def arms(self) -> dict[str, ClassifierArm]:
        """The classifiers that were asked for."""
        return {name: arm for name, arm in self.classifiers.items() if not name.startswith(AUDIT)}

    @cached_property
    def scored(self) -> dict[str, SetMetrics]:
        """Their metrics of the set that the headline comes from."""
        return {name: arm.metrics.headline for name, arm in self.arms.items()}

    @cached_property
    def invalid(self) -> str:
        """Why the recipe cannot be run again as it stands; '' where it can."""
        try:
            check_arms_comparable(validate(self.recipe, ""))
        except UsageError as error:
            return str(error)
        return ""

    @cached_property
    def recipes(self) -> dict[str, dict[str, Any]]:
        """The recipe of each arm but ensembles, with the keys that it replaces; where the recipe is not valid, or has no such
        arm, the whole one. What a probe does not use, augmentation and the choice of an epoch, is left out."""
        resolved = {} if self.invalid else validate(self.recipe, "").arm_recipes()
        plain = {name: recipe.model_dump(mode="json") for name, recipe in resolved.items()}
        arms = [name for name, arm in self.arms.items() if not arm.summary.members]
        return {name: _as_fitted(plain.get(name, self.recipe)) for name in arms}

    def retrained(self, name: str) -> ArmMetrics | None:
        """The metrics of an arm of `audit: retrain`, None where there was none."""
        arm = self.classifiers.get(f"{AUDIT}{name}")
        return arm and arm.metrics

    @property
    def best(self) -> tuple[str, SetMetrics]:
        """The arm of the highest accuracy, and its metrics."""
        return max(self.scored.items(), key=lambda item: item[1].accuracy)

    def each(self, answer: Callable[[dict[str, Any]], str]) -> str:
        """What an answer says of every arm's recipe, once where all arms agree, else by arm."""
        said: dict[str, list[str]] = {}
        for name, recipe in self.recipes.items():
            said.setdefault(answer(recipe), []).append(name)
        return next(iter(said)) if len(said) == 1 else "; ".join(f"{', '.join(names)}: {text}" for text, names in said.items())


def _as_fitted(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe without the keys that a probe does not use."""
    if recipe["model"].get("head") not in PROBES:
        return recipe
    training = recipe["training"] | {"checkpoint": "last", "early_stopping_patience": None, "reduce_lr_on_plateau": None}
    return recipe | {"data": recipe["data"] | {"augment": "none"}, "training": training}


@dataclass(frozen=True, slots=True)
class CheckResult:
    """number, name: of the list; status: one of the six; words: what was found; declares: whether it is a declaration;
    needs: what it would take to run it on what was made elsewhere, '' where nothing is missing."""

    number: int
    group: str
    name: str
    status: str
    words: str
    declares: bool = False
    needs: str = ""


CheckOutcome = tuple[str, str]
_TABLE: list[tuple[int, str, str, bool, Callable[[RunEvidence], CheckOutcome]]] = []


def run_checks(evidence: RunEvidence, groups: Collection[str] | None = None) -> list[CheckResult]:
    """Checks and declarations in order.

    Args:
        evidence: A run's files, read.
        groups: Which; None: all.

    Returns:
        The result of each.
    """
    results = []
    for number, group, name, declares, answer in sorted(_TABLE, key=lambda row: row[0]):
        if groups is None or group in groups:
            needs = evidence.subject.needed(number) if evidence.subject else ""
            outcome = (NOT_RUN, f"needs {needs}") if needs else _declared(evidence, number) or answer(evidence)
            results.append(CheckResult(number, group, name, *outcome, declares, needs))
    return results


def _declared(evidence: RunEvidence, number: int) -> CheckOutcome | None:
    """What the author of something that was made elsewhere is asked to declare."""
    return (AUTHOR, DECLARATIONS[number]) if evidence.subject and number in DECLARATIONS else None


def check(number: int, group: str, name: str, declares: bool = False):
    """A decorator that adds a check to the registry.

    Args:
        number: Of the check.
        group: Of checks.
        name: For a person.
        declares: Whether it only declares something and is not counted.

    Returns:
        The decorator, of a function of a run's evidence.
    """

    def register(answer: Callable[[RunEvidence], CheckOutcome]):
        _TABLE.append((number, group, name, declares, answer))
        return answer

    return register


def audited(answer: Callable[[RunEvidence, DataAudit], CheckOutcome]) -> Callable[[RunEvidence], CheckOutcome]:
    """A check that reads audit.json."""
    return lambda e: (NOT_RUN, "the recipe says audit: none") if e.audit is None else answer(e, e.audit)
