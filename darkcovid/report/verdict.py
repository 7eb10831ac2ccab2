"""What does the evidence of a run allow a person to say? In sentences that may be quoted."""

from darkcovid.audits.checks import FAIL, WARN, CheckResult, RunEvidence
from darkcovid.audits.checks.data import majority
from darkcovid.evaluation.results import ClassifierArm
from darkcovid.report.tables import scored_set


def verdict(evidence: RunEvidence, checks: list[CheckResult]) -> list[str]:
    """What the evidence allows a person to say, in plain words.

    Args:
        evidence: A finished run's files.
        checks: Results of the checks of it.

    Returns:
        Sentences, the gravest first.
    """
    failed = [row for row in checks if row.status == FAIL]
    warned = [row for row in checks if row.status == WARN]
    name, best = evidence.best
    low, high = best.interval("accuracy")
    best_arm = evidence.arms[name]
    if best.accuracy <= majority(best) and best_arm.metrics.sources:
        inside = max(arm.metrics.valid.accuracy for arm in evidence.arms.values())
        first = (
            f"Not as it stands: on sources that the network had not seen the best accuracy is {best.accuracy:.3f}, no more than "
            f"the majority class has there ({majority(best):.3f}); on validation images of the sources that it was trained on "
            f"it is {inside:.3f}. docs/unseen_hospitals.md says what may help."
        )
    elif best.accuracy <= majority(best):
        guess = f"no arm is more accurate than the majority class ({majority(best):.3f})"
        first = f"Not as it stands: {guess}." + ("" if evidence.subject else " Train longer, or on more images.")
    elif failed:
        first = f"Not as it stands: {_checks(failed)} failed. A high figure here is not evidence that lungs were read."
    elif unaudited := _unaudited(evidence, name):
        caution = f" {_caution(warned)}." if warned else ""
        first = f"Not audited: {unaudited}, so that nothing failed says little.{caution}"
    elif warned:
        first = f"With care: nothing failed, but {_caution(warned)}."
    else:
        first = "Nothing that was checked speaks against it."
    where = scored_set(best_arm)
    where = where[0].lower() + where[1:]
    others = [other for other, metrics in evidence.scored.items() if metrics.accuracy == best.accuracy and other != name]
    if len(evidence.scored) == 1:
        who = "Accuracy"
    else:
        who = f"The most accurate arm is {name}" if not others else f"The most accurate arms are {' and '.join([name, *others])}"
    unknown = evidence.audit.unknown_patients if evidence.audit is not None else 0
    over = "over images" if evidence.audit is not None and unknown == evidence.audit.images else "over patients"
    score = f"{who}: {best.accuracy:.3f} (95 % interval {low:.3f} to {high:.3f} {over}; {where})."
    patients = [f"The patient of {unknown} images is not known: the same person may be in two sets."] if unknown else []
    return [
        first,
        score,
        *_outside(best_arm),
        *([] if evidence.subject else _refusals(best_arm)),
        *patients,
        *(f"{row.name.capitalize()}: {row.words}." for row in failed),
    ]


def _outside(arm: ClassifierArm) -> list[str]:
    """What was shown on images from elsewhere."""
    shown = []
    for place, metrics in arm.metrics.elsewhere.items():
        drop = metrics.fall.metrics.get("balanced_accuracy")
        if drop is not None:
            shown.append(f"{drop.outside:.3f} on {place} (the same classes inside: {drop.inside:.3f})")
    if not shown:
        return ["Nothing is shown of other hospitals: no image from elsewhere was scored."]
    return [f"On images from elsewhere its balanced accuracy was {'; '.join(shown)}."]


def _refusals(arm: ClassifierArm) -> list[str]:
    """How often it answers, and how often it is wrong then."""
    sets = {"the validation images": arm.metrics.valid}
    sets |= {f"those of {place}": metrics for place, metrics in arm.metrics.elsewhere.items()}
    said = []
    for where, metrics in sets.items():
        found = metrics.conformal
        if found is not None:
            wrong = f"{found.wrong_answers:.1%} wrongly, {1 - metrics.accuracy:.1%} if it refused none"
            said.append(f"{found.answered:.0%} of {where} ({wrong})")
    if not said:
        return []
    inside = arm.metrics.valid.conformal
    if inside is not None and inside.set_sizes[-1] == 1:
        why = "too few patients of a class to calibrate them by, or a network without skill"
        return [f"The best arm answers none of the validation images: every set holds all classes ({why})."]
    return [f"The best arm answers {', '.join(said)}; of the rest it is not sure, or they are not like the training images."]


def _unaudited(evidence: RunEvidence, best: str) -> str:
    """What was not looked for, '' where leaks and shortcuts were."""
    if evidence.audit is None:
        return f"neither leaked patients nor shortcuts were looked for{_audit_key(evidence)}"
    return "" if evidence.arms[best].metrics.audited else f"shortcuts were not looked for{_audit_key(evidence)}"


def _audit_key(evidence: RunEvidence) -> str:
    """The recipe's key, where a recipe chose what is audited; of predictions what it would take."""
    if evidence.subject and evidence.subject.kind == "predictions":
        return " (that needs the model: darkcovid audit --model)"
    return f" (audit: {evidence.recipe['audit']})" if evidence.recipe.get("audit") in ("none", "data") else ""


def _caution(warned: list[CheckResult]) -> str:
    return f"{_checks(warned)} call{'s' if len(warned) == 1 else ''} for caution"


def _checks(rows: list[CheckResult]) -> str:
    """`2 checks (lungs erased; border only)`."""
    return f"{'1 check' if len(rows) == 1 else f'{len(rows)} checks'} ({'; '.join(row.name for row in rows)})"
