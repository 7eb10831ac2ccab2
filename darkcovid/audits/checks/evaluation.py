"""Checks 26 to 34: was it scored as it should be, on whom, and how sure is it?"""

from darkcovid.audits.checks.data import majority
from darkcovid.audits.checks.registry import AUTHOR, FAIL, NOT_RUN, PASS, STATED, WARN, CheckOutcome, RunEvidence, check
from darkcovid.metrics.p_values import holm, p_text
from darkcovid.metrics.paired_tests import ALPHA

FAR = 0.1  # a shown drop of balanced accuracy on images from elsewhere that is too far
MIN_CLASS_SUPPORT = 30  # images of a class, below which one of them moves its recall by much
UNCALIBRATED = 0.1


@check(26, "evaluation", "patient-level intervals", declares=True)
def _intervals(e: RunEvidence) -> CheckOutcome:
    return STATED, "95 %, exact binomial ones of an effective number of patients (Korn and Graubard 1998)"


@check(27, "evaluation", "paired tests", declares=True)
def _paired(e: RunEvidence) -> CheckOutcome:
    pairs = e.comparison.pairs
    return STATED, " ".join(pair.sentence for pair in pairs) if pairs else "one arm, nothing to compare"


@check(28, "evaluation", "more than accuracy", declares=True)
def _metrics(e: RunEvidence) -> CheckOutcome:
    return STATED, measures(e)


def measures(e: RunEvidence) -> str:
    """What is given of the arms: of predicted labels alone nothing that needs probabilities."""
    labels_only = [name for name, arm in e.arms.items() if arm.metrics.labels_only]
    given = "accuracy, balanced accuracy, precision, recall, specificity, F1, kappa, MCC"
    if len(labels_only) == len(e.arms):
        return given
    but = f" (not of {', '.join(labels_only)}: labels alone)" if labels_only else ""
    return f"{given}, AUROC, average precision, calibration{but}"


@check(29, "evaluation", "predictive values", declares=True)
def _predictive(e: RunEvidence) -> CheckOutcome:
    return AUTHOR, "a run gives them at 1, 5 and 20 % prevalence (metrics.json); say which prevalence the intended use has"


@check(30, "evaluation", "calibration")
def _calibration(e: RunEvidence) -> CheckOutcome:
    scored = {name: arm for name, arm in e.scored.items() if not e.arms[name].metrics.labels_only}
    if not scored:
        return NOT_RUN, "needs a probability per class: these are predicted labels alone"
    text = ", ".join(
        f"{name} {arm.ece:.3f} ({arm.calibration.ece_after:.3f} after temperature scaling, by {arm.calibration.judged_by})"
        for name, arm in scored.items()
    )
    off = any(arm.ece > UNCALIBRATED for arm in scored.values())
    return (WARN if off else PASS), f"calibration error: {text}"


@check(31, "evaluation", "subgroups")
def _subgroups(e: RunEvidence) -> CheckOutcome:
    tests = {(name, test.variable): test.p for name, arm in e.scored.items() for test in arm.subgroup_tests}
    if not tests:
        return WARN, "no two groups by sex, view or age of ten patients each are known, so none could be compared"
    corrected = {test: p for test, p in holm(tests).items() if p is not None}
    (name, variable), p = min(corrected.items(), key=lambda item: item[1])
    text = ", ".join(
        f"{group.value} {group.accuracy:.2f} (n {group.patients} patients)"
        for group in e.scored[name].subgroups
        if group.variable == variable and group.accuracy is not None
    )
    text = f"{name}, accuracy by {variable}: {text}; permutation of patients, {p_text(p)} after Holm's correction"
    return (WARN if p < ALPHA else PASS), text


@check(32, "evaluation", "images from elsewhere")
def _external(e: RunEvidence) -> CheckOutcome:
    drops = [
        (name, place, metrics.fall.metrics["balanced_accuracy"])
        for name, arm in e.arms.items()
        for place, metrics in arm.metrics.elsewhere.items()
    ]
    if not drops:
        return AUTHOR, "none was scored; published networks fell from an AUROC above .95 to .70 to .80 in other hospitals"
    skilled = [name for name, scores in e.scored.items() if scores.accuracy > majority(scores)]
    if not skilled and not any(arm.metrics.valid.accuracy > majority(arm.metrics.valid) for arm in e.arms.values()):
        return NOT_RUN, "no arm is more accurate than the majority class, so there is nothing to lose elsewhere"
    told = drops
    if len(e.arms) > 1:  # of each set the arm that loses most, so that many arms are one sentence
        worst: dict[str, tuple] = {}
        for each in drops:
            if each[1] not in worst or each[2].fall > worst[each[1]][2].fall:
                worst[each[1]] = each
        told = list(worst.values())
    text = "; ".join(
        f"{name} on {place}: {drop.outside:.3f}, inside {drop.inside:.3f}, "
        f"a drop of {drop.fall:.3f} [{drop.interval[0]:.3f}, {drop.interval[1]:.3f}]"
        for name, place, drop in told
    )
    which = f"balanced accuracy, of {len(e.arms)} arms the largest drop on each: " if len(e.arms) > 1 else "balanced accuracy of "
    shown = [drop for _, _, drop in drops if drop.interval[0] > 0]
    return (FAIL if any(drop.fall > FAR for drop in shown) else WARN if shown else PASS), which + text


@check(33, "evaluation", "worst confident errors", declares=True)
def _errors(e: RunEvidence) -> CheckOutcome:
    return AUTHOR, "look at the most confident mistakes; a run shows them in plots/gradcam.png and lists all in predictions.csv"


@check(34, "evaluation", "smallest class")
def _smallest(e: RunEvidence) -> CheckOutcome:
    arm = next(iter(e.scored.values()))
    name = min(arm.per_class, key=lambda label: arm.per_class[label].support)
    images, counted = arm.per_class[name].support, arm.images_per_class.get(name)
    of = f" of {counted.patients} patients" if counted else ""
    text = f"{name} has {images} images{of} among those scored: one image is {1 / max(images, 1):.1%} of its recall"
    fewest = min(images, counted.patients) if counted else images
    return (WARN if fewest < MIN_CLASS_SUPPORT else PASS), text
