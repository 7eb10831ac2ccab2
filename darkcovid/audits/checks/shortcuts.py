"""Checks 19 to 25: was the class read from the lungs?"""

from dataclasses import dataclass

from darkcovid.audits.checks.data import majority
from darkcovid.audits.checks.registry import (
    AUTHOR,
    CLOSE,
    FAIL,
    NOT_RUN,
    PASS,
    STATED,
    WARN,
    CheckOutcome,
    RunEvidence,
    audited,
    check,
)
from darkcovid.audits.findings import DataAudit
from darkcovid.metrics.skill_without_lungs import ViewMetrics, skills_left, view_metrics

UNASKED = "`audit: shortcuts` or `retrain` does it, where lungs are trusted"


MUCH, SOME = 0.5, 0.2  # shares of the skill that are left without lungs


@dataclass(frozen=True, slots=True)
class Left:
    """What an arm can still do with something hidden.

    Attributes:
        whole: The share of its accuracy above the majority class's; None where it has none.
        by_class: Of each class with skill, `skills_left`.
        words: What was measured.
    """

    whole: float | None
    by_class: dict[str, float]
    words: str

    @property
    def worst(self) -> float:
        """The largest of the shares."""
        return max([self.whole or 0.0, *self.by_class.values()])


@check(19, "shortcuts", "lungs erased")
def _erased(e: RunEvidence) -> CheckOutcome:
    left = _left(e, "no_lungs", "lungs_erased", "the lungs erased")
    return _judged(left) if left else (NOT_RUN, UNASKED)


@check(20, "shortcuts", "lungs only", declares=True)
def _only(e: RunEvidence) -> CheckOutcome:
    left = _left(e, "lungs_only", "lungs_only", "nothing but the lungs")
    return (STATED, "; ".join(skill.words for skill in left)) if left else (NOT_RUN, UNASKED)


@check(21, "shortcuts", "border only")
def _border(e: RunEvidence) -> CheckOutcome:
    left = _left(e, "border_only", "border_only", "nothing but a strip of a tenth of the sides along the border")
    return _judged(left) if left else (NOT_RUN, UNASKED)


@check(22, "shortcuts", "a 16-px thumbnail only")
def _thumbnail(e: RunEvidence) -> CheckOutcome:
    left = _left(e, "thumbnail", "thumbnail", "16 pixels per side, on which coarse signs of the lungs can still be seen")
    if not left:
        return NOT_RUN, UNASKED
    status, text = _judged(left)
    return (WARN if status == FAIL else status), text


def _left(e: RunEvidence, retrained: str, view: str, how: str) -> list[Left]:
    """The first arm trained again where `audit: retrain` did that, else every arm as it is, asked without training again."""
    arm = e.retrained(retrained)
    if arm is not None:
        chance = majority(arm.valid)
        name, reference = next((name, view_metrics(first_arm.metrics.valid)) for name, first_arm in e.arms.items())
        hidden = view_metrics(arm.valid)
        again = "without lungs" if retrained == "no_lungs" else f"on {how}"
        text = f"{name} trained again {again}: accuracy {hidden.accuracy:.3f}, before {reference.accuracy:.3f}"
        kept = arm.untrusted_lungs if retrained == "no_lungs" else 0
        text += f", majority class {chance:.3f}"
        text += f" ({kept} images whose lung mask was rejected keep their lungs)" if kept else ""
        return [Left(_share(hidden, reference, chance), skills_left(reference, hidden), text)]
    return [
        Left(
            _share(audit.views[view], audit.plain, audit.chance),
            skills_left(audit.plain, audit.views[view]),
            f"{name} on {how}: accuracy {audit.views[view].accuracy:.3f}, on whole inputs {audit.plain.accuracy:.3f}, majority "
            f"class {audit.chance:.3f} (the same network, on {audit.images} images whose lung mask was accepted)",
        )
        for name, classifier in e.arms.items()
        if (audit := classifier.metrics.shortcuts) and view in audit.views
    ]


def _share(hidden: ViewMetrics, plain: ViewMetrics, chance: float) -> float | None:
    """Of the accuracy above the majority class's, what is left; 0 where its interval reaches that."""
    left, full = hidden.accuracy - chance, plain.accuracy - chance
    interval = hidden.intervals.get("accuracy")
    low = hidden.accuracy if interval is None else interval[0]
    return (left / full if low > chance and left > 0 else 0.0) if full > 0 else None


def _judged(left: list[Left]) -> CheckOutcome:
    """By the arm of which most is left, whole or of one class."""
    worst = max(left, key=lambda one: one.worst)
    if worst.whole is None and not worst.by_class:
        return NOT_RUN, f"not judged, since the network has no skill to lose: {worst.words}"
    above = "the accuracy above the majority class"
    none = "no accuracy shown to be above the majority class"
    shares = [] if worst.whole is None else [f"{worst.whole:.0%} of {above}" if worst.whole else none]
    shares += [f"{share:.0%} of its ability to tell {name} from the rest" for name, share in worst.by_class.items()]
    status = FAIL if worst.worst > MUCH else WARN if worst.worst > SOME else PASS
    return status, f"{worst.words}; it keeps {', '.join(shares)}"


@check(23, "shortcuts", "the source from the same pixels")
@audited
def _source_from_pixels(e: RunEvidence, audit: DataAudit) -> CheckOutcome:
    source = audit.source_from_pixels
    if source is None:
        return AUTHOR, "the manifest names one source, or none; say where the images come from"
    text = (
        f"{source.variable.replace('_', ' ')} told from 16 pixels per side: {source.accuracy:.3f} "
        f"(balanced {source.balanced_accuracy:.3f}), majority class {source.chance:.3f}"
    )
    return (WARN if source.accuracy > source.chance + CLOSE else PASS), text


@check(24, "shortcuts", "labels shuffled")
def _shuffled(e: RunEvidence) -> CheckOutcome:
    arm, luck = e.retrained("shuffled"), e.audit and e.audit.chance
    if arm is None or luck is None:
        return NOT_RUN, "a recipe with `audit: retrain` does it"
    low, _ = arm.valid.interval("accuracy")
    text = f"trained on shuffled labels: {arm.valid.accuracy:.3f}, majority class {luck:.3f}"
    return (FAIL if low > luck else PASS), text


@check(25, "shortcuts", "Grad-CAM inside the lungs")
def _gradcam(e: RunEvidence) -> CheckOutcome:
    name, arm = next(iter(e.arms.items()))
    overlaps = {label: overlap for label, overlap in arm.metrics.attention.items() if overlap.inside_lungs is not None}
    if not overlaps:
        return NOT_RUN, "`audit: shortcuts` or `retrain` does it, where lungs are trusted"
    asked = e.subject is not None and all(each.inside_lungs_of_fresh_weights is None for each in overlaps.values())
    fresh = {
        label: "" if asked else f"fresh weights {_percent(overlap.inside_lungs_of_fresh_weights)}, "
        for label, overlap in overlaps.items()
    }
    text = ", ".join(
        f"{label} {_percent(overlap.inside_lungs)} "
        f"({fresh[label]}the lungs are {_percent(overlap.lungs_of_picture)} of the picture)"
        for label, overlap in overlaps.items()
    )
    elsewhere = any(overlap.looks_elsewhere for overlap in overlaps.values())
    return (WARN if elsewhere else PASS), f"{name}, share of the map inside the lungs: {text}"


def _percent(share: float | None) -> str:
    return "no map" if share is None else f"{share:.0%}"
