"""Checks 26 to 34: was it scored as it should be, on whom, and how sure is it?"""

from darkcovid.evaluation.checks.listing import AUTHOR, FAIL, PASS, WARN, Answer, Evidence, check

FAR = 0.1  # a shown fall of balanced accuracy on images from elsewhere that is too far
SMALL = 30  # images of a class, below which one of them moves its recall by much


@check(26, "evaluation", "patient-level intervals")
def _intervals(e: Evidence) -> Answer:
    return PASS, "95 %, by drawing patients anew 2,000 times"


@check(27, "evaluation", "paired tests")
def _paired(e: Evidence) -> Answer:
    pairs = e.comparison.get("pairs", [])
    return PASS, "; ".join(pair["sentence"] for pair in pairs) if pairs else "one arm, nothing to compare"


@check(28, "evaluation", "more than accuracy")
def _metrics(e: Evidence) -> Answer:
    return PASS, "balanced accuracy, precision, recall, specificity, F1, AUROC, average precision, kappa, MCC of every arm"


@check(29, "evaluation", "predictive values")
def _predictive(e: Evidence) -> Answer:
    return AUTHOR, "given at 1, 5 and 20 % prevalence in metrics.json; say which prevalence the intended use has"


@check(30, "evaluation", "calibration")
def _calibration(e: Evidence) -> Answer:
    words = ", ".join(
        f"{name} {arm['ece']:.3f} ({arm['calibration']['ece_after']:.3f} after temperature scaling)"
        for name, arm in e.arms.items()
    )
    return (WARN if any(arm["ece"] > 0.1 for arm in e.arms.values()) else PASS), f"calibration error: {words}"


@check(31, "evaluation", "subgroups")
def _subgroups(e: Evidence) -> Answer:
    arm = next(iter(e.arms.values()))
    known = [group for group in arm["subgroups"] if group["value"] != "unknown" and group["accuracy"] is not None]
    if not known:
        return WARN, "sex, view and age are unknown, or every group has fewer than ten patients"
    spread = {}
    for group in known:
        spread.setdefault(group["variable"], []).append(group["accuracy"])
    uneven = [name for name, values in spread.items() if max(values) - min(values) > 0.1]
    words = ", ".join(f"{group['variable']} {group['value']} {group['accuracy']:.2f} (n {group['images']})" for group in known)
    return (WARN if uneven else PASS), words


@check(32, "evaluation", "an external set")
def _external(e: Evidence) -> Answer:
    falls = [
        (name, place, found["fall"]["balanced_accuracy"])
        for name, arm in e.arms.items()
        for place, found in arm.get("external", {}).items()
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


@check(33, "evaluation", "worst confident errors")
def _errors(e: Evidence) -> Answer:
    return AUTHOR, "look at the surest mistakes in plots/gradcam.png, and at predictions.csv"


@check(34, "evaluation", "smallest class")
def _smallest(e: Evidence) -> Answer:
    arm = next(iter(e.arms.values()))
    scored = arm.get("test", arm)["per_class"]
    name, found = min(scored.items(), key=lambda item: item[1]["support"])
    words = f"{name} has {found['support']} images among those scored: one is {1 / max(found['support'], 1):.1%} of its recall"
    return (WARN if found["support"] < SMALL else PASS), words
