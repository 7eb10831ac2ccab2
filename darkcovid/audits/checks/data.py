"""Checks 1 to 12: where do the images and labels come from, and what gives the class away before anything is trained?"""

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
from darkcovid.audits.findings import BaselineFindings, DataAudit
from darkcovid.core.words import counted
from darkcovid.evaluation.results import SetMetrics

TRAINING_UNKNOWN = "which images the network was trained on is not known"
STRONG = 0.3  # Cramer's V from which a variable is said to go with the class


@check(1, "data", "every file's checksum verified")
@audited
def _checksums(e: RunEvidence, audit: DataAudit) -> CheckOutcome:
    if audit.checksums is None:
        return NOT_RUN, "the files were not read"
    verified, unrecorded = audit.checksums.verified, audit.checksums.unrecorded
    return (PASS if not unrecorded else WARN), f"{verified} files have the manifest's checksum, {unrecorded} have none recorded"


@check(2, "data", "patient ids known")
@audited
def _patients_known(e: RunEvidence, audit: DataAudit) -> CheckOutcome:
    unknown = audit.unknown_patients
    return (PASS, "every image has one") if not unknown else (WARN, f"{unknown} images have none; each counts as a patient")


@check(3, "data", "no patient in two sets or folds")
@audited
def _patients_apart(e: RunEvidence, audit: DataAudit) -> CheckOutcome:
    if _only_one_set(e):
        return NOT_RUN, TRAINING_UNKNOWN
    both, unknown = audit.patients.on_both_sides, audit.unknown_patients
    if both:
        return FAIL, f"{both} patients are in two sets: the scores are too good"
    if unknown:
        return WARN, f"no known patient is; {unknown} of {audit.images} images have no patient id, and may be of one person"
    return PASS, "none"


@check(4, "data", "no copies across sets")
@audited
def _copies(e: RunEvidence, audit: DataAudit) -> CheckOutcome:
    copies = audit.duplicates
    exact, near = copies.exact_across_sides, copies.near_across_sides
    if exact or near:
        return FAIL, f"{exact} identical and {near} almost identical pairs are in two sets"
    if _only_one_set(e):
        return NOT_RUN, TRAINING_UNKNOWN
    if not copies.looked_for:
        return NOT_RUN, "no identical files by the recorded checksums; near copies were not looked for, which needs the images"
    none = f"none across sets ({copies.exact} identical, {copies.near} near pairs in all)"
    return PASS, ". ".join(filter(None, [none, copies.looked_for]))


def _only_one_set(e: RunEvidence) -> bool:
    return all(len(arm.summary.images) < 2 for arm in e.arms.values())


@check(5, "data", "patients with two labels")
@audited
def _two_labels(e: RunEvidence, audit: DataAudit) -> CheckOutcome:
    count = audit.patients.with_several_labels
    return (PASS, "none") if not count else (WARN, f"{counted(count, 'patient')} with images of several classes")


@check(6, "data", "class by source")
@audited
def _sources(e: RunEvidence, audit: DataAudit) -> CheckOutcome:
    names = ("source", "patient_prefix", "license")
    if not any(confounder.variable in names for confounder in audit.confounding):
        return NOT_RUN, "the manifest names one source, or none"
    telling = [
        confounder
        for confounder in audit.confounding
        if confounder.variable in names and confounder.cramers_v >= STRONG and confounder.corrected_p < 0.05
    ]
    if not telling:
        return PASS, "no source goes with a class"
    worst = max(telling, key=lambda confounder: confounder.cramers_v)
    name, classes = worst.variable.replace("_", " "), " / ".join(worst.classes)
    return FAIL, (
        f"{name} goes with the class ({classes}: Cramer's V {worst.cramers_v:.2f}, {worst.accuracy:.3f} right by it): "
        "the network may learn the hospital"
    )


@check(7, "data", "metadata alone")
@audited
def _metadata(e: RunEvidence, audit: DataAudit) -> CheckOutcome:
    return _beside(e, audit, audit.metadata_alone, "metadata without any pixel")


@check(8, "data", "image statistics alone")
@audited
def _statistics(e: RunEvidence, audit: DataAudit) -> CheckOutcome:
    if audit.image_statistics_alone is None:
        return NOT_RUN, "the pixels were not read"
    return _beside(e, audit, audit.image_statistics_alone, "mean, spread, border and corners of the pixels")


def _beside(e: RunEvidence, audit: DataAudit, baseline: BaselineFindings, what: str) -> CheckOutcome:
    """A baseline that beats the majority class by its interval, against the best arm, which must do so too."""
    alone, chance, (name, best) = baseline.accuracy, audit.chance, e.best
    own = majority(best)
    beside = "" if round(own, 3) == round(chance, 3) else f", majority class of its images {own:.3f}"
    text = f"{what}: {alone:.3f}, majority class {chance:.3f}; the best arm {name} {best.accuracy:.3f}{beside}"
    if (baseline.interval or (alone, alone))[0] <= chance:
        return PASS, f"{text}: no more than the majority class tells"
    if best.interval("accuracy")[0] <= own:
        return WARN, f"{text}: the arm itself does not beat the majority class"
    if alone >= best.accuracy - CLOSE:
        return FAIL, text
    return (WARN if alone > chance + CLOSE else PASS), text


def majority(metrics: SetMetrics) -> float:
    """Accuracy of the majority-class baseline on the images scored; 0 where they are of one class, which any answer can be."""
    support = [scores.support for scores in metrics.per_class.values()]
    return max(support) / max(1, sum(support)) if sum(count > 0 for count in support) > 1 else 0.0


@check(9, "data", "ages and children")
@audited
def _ages(e: RunEvidence, audit: DataAudit) -> CheckOutcome:
    ages = audit.ages
    known = {name: of_class for name, of_class in ages.items() if of_class.known}
    if len(known) < len(ages):
        return WARN, f"no age is known of: {', '.join(name for name in ages if name not in known)}"
    means = [of_class.mean for of_class in known.values() if of_class.mean is not None]
    gap = max(means) - min(means)
    children = any(of_class.children for of_class in known.values())
    text = "; ".join(
        f"{name} {of_class.mean:.0f} years, {of_class.children} children (age known of {counted(of_class.known, 'image')})"
        for name, of_class in known.items()
    )
    return (WARN if gap > 10 or children else PASS), text


@check(10, "data", "missing metadata by class")
@audited
def _missing(e: RunEvidence, audit: DataAudit) -> CheckOutcome:
    uneven = []
    for column, shares in audit.missing.items():
        if max(shares.values()) - min(shares.values()) > 0.2:
            uneven.append(f"{column} ({', '.join(f'{name} {share:.0%}' for name, share in shares.items())})")
    return (PASS, "about the same in every class") if not uneven else (WARN, "missing more in some classes: " + "; ".join(uneven))


@check(11, "data", "flow of images", declares=True)
def _flow(e: RunEvidence) -> CheckOutcome:
    summary = next(iter(e.arms.values())).summary
    used = ", ".join(f"{count} {side}" for side, count in summary.images.items())
    left_out = {name: arm.summary.left_out_of_training for name, arm in e.arms.items() if arm.summary.left_out_of_training}
    untrained = ", ".join(f"{count} in {name}" for name, count in left_out.items())
    labels = ", ".join(f"{label or 'no label'} {count}" for label, count in summary.excluded_by_label.items())
    parts = [
        f"{sum(summary.images.values())} used ({used}), {summary.bad_images} unusable ones excluded",
        f"of other labels: {labels}" if labels else "",
        f"left out of training: {untrained}" if untrained else "",
    ]
    return STATED, "; ".join(filter(None, parts))


@check(12, "data", "where each label comes from", declares=True)
def _labels(e: RunEvidence) -> CheckOutcome:
    return AUTHOR, "say who labeled the images, from what, and how often two readers agreed"
