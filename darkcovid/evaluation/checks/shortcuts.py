"""Checks 19 to 25: was the class read from the lungs?"""

from collections.abc import Iterator
from typing import Any

from darkcovid.evaluation.checks.listing import AUTHOR, CLOSE, FAIL, NOT_RUN, PASS, WARN, Answer, Evidence, audited, check


def _shortcuts(evidence: Evidence, view: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for name, arm in evidence.arms.items():
        audit = arm.get("shortcuts", {})
        if view in audit:
            yield name, audit, audit[view]


@check(19, "shortcuts", "lungs erased")
def _erased(e: Evidence) -> Answer:
    arm, luck = e.retrained("no_lungs"), e.audit.get("chance")
    if arm is not None and luck is not None:
        reference = next(iter(e.arms.values()))["accuracy"]
        left = _skill(arm["accuracy"], reference, luck)
        words = f"trained again without lungs {arm['accuracy']:.3f}, with them {reference:.3f}, guessing {luck:.3f}"
        return _judged(left), f"{words}: {left:.0%} of the skill above guessing needs no lungs"
    found = [one for one in _shortcuts(e, "lungs_erased") if one[1]["skill_without_lungs"] is not None]
    if not found:
        return NOT_RUN, "the recipe's audit is not `shortcuts`, or no lungs were trusted"
    name, audit, view = max(found, key=lambda one: one[1]["skill_without_lungs"])
    left = audit["skill_without_lungs"]
    words = (
        f"{name}: {view['accuracy']:.3f} with the lungs erased, {audit['plain']['accuracy']:.3f} with them, "
        f"guessing {audit['chance']:.3f}"
    )
    return _judged(left), f"{words}: {left:.0%} of the skill above guessing needs no lungs (not trained again)"


def _skill(without: float, reference: float, luck: float) -> float:
    return max(0.0, (without - luck) / (reference - luck)) if reference > luck else 0.0


def _judged(left: float) -> str:
    return FAIL if left > 0.5 else WARN if left > 0.2 else PASS


@check(20, "shortcuts", "lungs only")
def _only(e: Evidence) -> Answer:
    arm = e.retrained("lungs_only")
    if arm is not None:
        return PASS, f"trained again on nothing but the lungs: {arm['accuracy']:.3f}"
    return _listed(e, "lungs_only", "nothing but the lungs")


@check(21, "shortcuts", "border only")
def _border(e: Evidence) -> Answer:
    return _suspicious(e, "border_only", "nothing but a border")


@check(22, "shortcuts", "a 16-px thumbnail only")
def _thumbnail(e: Evidence) -> Answer:
    return _suspicious(e, "thumbnail", "16 pixels a side")


@check(23, "shortcuts", "the source from the same pixels")
@audited
def _source_from_pixels(e: Evidence) -> Answer:
    found = e.audit["source_from_pixels"]
    if found is None:
        return AUTHOR, "the manifest names one source, or none; say where the images come from"
    words = (
        f"{found['variable'].replace('_', ' ')} told from 16 pixels a side: {found['accuracy']:.3f} "
        f"(balanced {found['balanced_accuracy']:.3f}), guessing {found['chance']:.3f}"
    )
    return (WARN if found["accuracy"] > found["chance"] + CLOSE else PASS), words


@check(24, "shortcuts", "labels shuffled")
def _shuffled(e: Evidence) -> Answer:
    arm, luck = e.retrained("shuffled"), e.audit.get("chance")
    if arm is None or luck is None:
        return NOT_RUN, "`audit: retrain` does it"
    low, _ = arm["intervals"]["accuracy"]
    words = f"trained on shuffled labels: {arm['accuracy']:.3f}, guessing {luck:.3f}"
    return (FAIL if low > luck else PASS), words


@check(25, "shortcuts", "Grad-CAM inside the lungs")
def _gradcam(e: Evidence) -> Answer:
    name, arm = next(iter(e.arms.items()))
    found = {label: one for label, one in arm.get("attention", {}).items() if one["inside_lungs"] is not None}
    if not found:
        return NOT_RUN, "`audit: shortcuts` or `retrain` does it, where lungs are trusted"
    words = ", ".join(
        f"{label} {one['inside_lungs']:.0%} (fresh weights {_percent(one['inside_lungs_of_fresh_weights'])}, "
        f"the lungs are {_percent(one['lungs_of_picture'])} of the picture)"
        for label, one in found.items()
    )
    elsewhere = any(one["inside_lungs"] < one["lungs_of_picture"] for one in found.values())
    return (WARN if elsewhere else PASS), f"{name}, share of the map inside the lungs: {words}"


def _percent(share: float | None) -> str:
    return "no map" if share is None else f"{share:.0%}"


def _suspicious(e: Evidence, name: str, what: str) -> Answer:
    """A view in which there should be little to see."""
    arm, luck = e.retrained(name), e.audit.get("chance")
    if arm is not None and luck is not None:
        words = f"trained again on {what}: {arm['accuracy']:.3f}, guessing {luck:.3f}"
        return (WARN if arm["intervals"]["accuracy"][0] > luck else PASS), words
    found = list(_shortcuts(e, name))
    status, words = _listed(e, name, what)
    if any(view["accuracy"] > audit["chance"] + 0.1 for _, audit, view in found):
        return WARN, words
    return status, words


def _listed(e: Evidence, view_name: str, what: str) -> Answer:
    found = list(_shortcuts(e, view_name))
    if not found:
        return NOT_RUN, "`audit: shortcuts` or `retrain` does it, where lungs are trusted"
    return PASS, f"{what}: " + ", ".join(f"{name} {view['accuracy']:.3f}" for name, _, view in found)
