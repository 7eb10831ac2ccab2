"""Checks 26 to 34: was it scored as it should be, on whom, and how sure is it?"""

from darkcovid.audit.checks.registry import AUTHOR, FAIL, PASS, STATED, WARN, CheckOutcome, RunEvidence, check
from darkcovid.metrics.paired_tests import ALPHA, holm

FAR = 0.1  # a shown fall of balanced accuracy on images from elsewhere that is too far
MIN_CLASS_SUPPORT = 30  # images of a class, below which one of them moves its recall by much
UNCALIBRATED = 0.1


@check(26, "evaluation", "patient-level intervals", declares=True)
def _intervals(e: RunEvidence) -> CheckOutcome:
    return STATED, "95 %, exact binomial ones of an effective number of patients (Korn and Graubard 1998)"


@check(27, "evaluation", "paired tests", declares=True)
def _paired(e: RunEvidence) -> CheckOutcome:
    pairs = e.comparison.get("pairs", [])
    return STATED, "; ".join(pair["sentence"] for pair in pairs) if pairs else "one arm, nothing to compare"


@check(28, "evaluation", "more than accuracy", declares=True)
def _metrics(e: RunEvidence) -> CheckOutcome:
    return STATED, "balanced accuracy, precision, recall, specificity, F1, AUROC, average precision, kappa, MCC of every arm"


@check(29, "evaluation", "predictive values", declares=True)
def _predictive(e: RunEvidence) -> CheckOutcome:
    return AUTHOR, "given at 1, 5 and 20 % prevalence in metrics.json; say which prevalence the intended use has"


@check(30, "evaluation", "calibration")
def _calibration(e: RunEvidence) -> CheckOutcome:
    words = ", ".join(
        f"{name} {arm['ece']:.3f} ({arm['calibration']['ece_after']:.3f} after temperature scaling, by "
        f"{arm['calibration'].get('judged_by', 'the images that it was fitted to')})"
        for name, arm in e.scored.items()
    )
    off = any(arm["ece"] > UNCALIBRATED for arm in e.scored.values())
    return (WARN if off else PASS), f"calibration error: {words}"


@check(31, "evaluation", "subgroups")
def _subgroups(e: RunEvidence) -> CheckOutcome:
    tests = {(name, test["variable"]): test["p"] for name, arm in e.scored.items() for test in arm.get("subgroup_tests", [])}
    if not tests:
        return WARN, "no two groups by sex, view or age of ten patients each are known, so none could be compared"
    corrected = holm(tests)
    (name, variable), p = min(corrected.items(), key=lambda item: item[1])
    groups = [group for group in e.scored[name]["subgroups"] if group["variable"] == variable and group["accuracy"] is not None]
    words = ", ".join(f"{group['value']} {group['accuracy']:.2f} (n {group['patients']} patients)" for group in groups)
    words = f"{name}, accuracy by {variable}: {words}; permutation of patients, p {p:.3g} after Holm's correction"
    return (WARN if p < ALPHA else PASS), words


@check(32, "evaluation", "an external set")
def _external(e: RunEvidence) -> CheckOutcome:
    falls = [
        (name, place, metrics["fall"]["balanced_accuracy"])
        for name, arm in e.arms.items()
        for place, metrics in arm.get("external", {}).items()
    ]
    if not falls:
        return AUTHOR, "none was scored; the field's best fall from above .95 to between .70 and .80 AUROC elsewhere"
    words = "; ".join(
        f"{name} on {place}: {fall['outside']:.3f}, inside {fall['inside']:.3f}, "
        f"a fall of {fall['fall']:.3f} [{fall['interval'][0]:.3f}, {fall['interval'][1]:.3f}]"
        for name, place, fall in falls
    )
    shown = [fall for _, _, fall in falls if fall["interval"][0] > 0]
    return (FAIL if any(fall["fall"] > FAR for fall in shown) else WARN if shown else PASS), f"balanced accuracy of {words}"


@check(33, "evaluation", "worst confident errors", declares=True)
def _errors(e: RunEvidence) -> CheckOutcome:
    return AUTHOR, "look at the surest mistakes in plots/gradcam.png, and at predictions.csv"


@check(34, "evaluation", "smallest class")
def _smallest(e: RunEvidence) -> CheckOutcome:
    arm = next(iter(e.scored.values()))
    counts = arm.get("images_per_class") or {name: {"images": of["support"]} for name, of in arm["per_class"].items()}
    name, count = min(counts.items(), key=lambda item: item[1]["images"])
    of = f" of {count['patients']} patients" if "patients" in count else ""
    one = 1 / max(count["images"], 1)
    words = f"{name} has {count['images']} images{of} among those scored: one image is {one:.1%} of its recall"
    return (WARN if min(count.values()) < MIN_CLASS_SUPPORT else PASS), words
