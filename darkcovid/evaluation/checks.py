"""What a believable result must pass, one row each: pass, warn, fail, not run, or for the author to answer.

After Roberts et al. 2021, DeGrave et al. 2021, Maguolo and Nanni 2021, Garcia Santa Cruz et al. 2021, CLAIM, TRIPOD+AI and
PROBAST+AI. Everything is read from a run folder's own files.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from darkcovid.recipe import AUDIT

PASS, WARN, FAIL, NOT_RUN, AUTHOR = "pass", "warn", "fail", "not run", "needs the author"
STRONG = 0.3  # Cramer's V from which a variable is said to go with the class
CLOSE = 0.05  # a score without lungs that comes so near the model's own is too near
FAR = 0.1  # a shown fall of balanced accuracy on images from elsewhere that is too far
SMALL = 30


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


def _audited(answer: Callable[[Evidence], Answer]) -> Callable[[Evidence], Answer]:
    """A check that reads audit.json."""
    return lambda evidence: answer(evidence) if evidence.audit else (NOT_RUN, "the recipe says audit: none")


def _shortcuts(evidence: Evidence, view: str) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for name, arm in evidence.arms.items():
        audit = arm.get("shortcuts", {})
        if view in audit:
            yield name, audit, audit[view]


@check(1, "data", "every file's checksum verified")
@_audited
def _checksums(e: Evidence) -> Answer:
    verified, unrecorded = e.audit["checksums"]["verified"], e.audit["checksums"]["unrecorded"]
    return (PASS if not unrecorded else WARN), f"{verified} files have the manifest's checksum, {unrecorded} have none recorded"


@check(2, "data", "patient ids known")
@_audited
def _patients_known(e: Evidence) -> Answer:
    unknown = e.audit["unknown_patients"]
    return (PASS, "every image has one") if not unknown else (WARN, f"{unknown} images have none; each counts as a patient")


@check(3, "data", "no patient on two sides or in two folds")
@_audited
def _patients_apart(e: Evidence) -> Answer:
    both = e.audit["patients"]["on_both_sides"]
    return (PASS, "none") if not both else (FAIL, f"{both} patients are on two sides: the scores are too good")


@check(4, "data", "no copies across sides")
@_audited
def _copies(e: Evidence) -> Answer:
    exact, near = (e.audit["duplicates"][f"{kind}_across_sides"] for kind in ("exact", "near"))
    if exact or near:
        return FAIL, f"{exact} identical and {near} almost identical pairs are on two sides"
    return (
        PASS,
        f"none across sides ({e.audit['duplicates']['exact']} identical, {e.audit['duplicates']['near']} near pairs in all)",
    )


@check(5, "data", "patients with two labels")
@_audited
def _two_labels(e: Evidence) -> Answer:
    count = e.audit["patients"]["with_several_labels"]
    return (PASS, "none") if not count else (WARN, f"{count} patients have images of several classes")


@check(6, "data", "class by source")
@_audited
def _sources(e: Evidence) -> Answer:
    names = ("source", "patient_prefix", "license")
    telling = [
        one for one in e.audit["confounding"] if one["variable"] in names and one["cramers_v"] >= STRONG and one["p"] < 0.05
    ]
    if not telling:
        return PASS, "no source goes with a class"
    worst = max(telling, key=lambda one: one["cramers_v"])
    name, classes = worst["variable"].replace("_", " "), " / ".join(worst["classes"])
    return FAIL, (
        f"{name} goes with the class ({classes}: Cramer's V {worst['cramers_v']:.2f}, {worst['accuracy']:.3f} right by it): "
        "the network may learn the hospital"
    )


@check(7, "data", "metadata alone")
@_audited
def _metadata(e: Evidence) -> Answer:
    return _beside(e, e.audit["metadata_alone"]["accuracy"], "metadata without any pixel")


@check(8, "data", "image statistics alone")
@_audited
def _statistics(e: Evidence) -> Answer:
    return _beside(e, e.audit["image_statistics_alone"]["accuracy"], "mean, spread, border and corners of the pixels")


def _beside(e: Evidence, alone: float, what: str) -> Answer:
    luck, words = e.audit["chance"], f"{what}: {alone:.3f}; the best arm {e.best:.3f}, guessing {e.audit['chance']:.3f}"
    if alone >= e.best - CLOSE:
        return FAIL, words
    return (WARN if alone > luck + CLOSE else PASS), words


@check(9, "data", "ages and children")
@_audited
def _ages(e: Evidence) -> Answer:
    ages = e.audit["ages"]
    known = {name: one for name, one in ages.items() if one["known"]}
    if len(known) < len(ages):
        return WARN, f"no age is known of: {', '.join(name for name in ages if name not in known)}"
    gap = max(one["mean"] for one in known.values()) - min(one["mean"] for one in known.values())
    children = {name: one["children"] for name, one in known.items() if one["children"]}
    words = "; ".join(f"{name} {one['mean']:.0f} years, {one['children']} children" for name, one in known.items())
    return (WARN if gap > 10 or children else PASS), words


@check(10, "data", "missing metadata by class")
@_audited
def _missing(e: Evidence) -> Answer:
    uneven = []
    for column, shares in e.audit["missing"].items():
        if max(shares.values()) - min(shares.values()) > 0.2:
            uneven.append(f"{column} ({', '.join(f'{name} {share:.0%}' for name, share in shares.items())})")
    return (PASS, "about the same in every class") if not uneven else (WARN, "missing more in some classes: " + "; ".join(uneven))


@check(11, "data", "flow of images")
def _flow(e: Evidence) -> Answer:
    arm = next(iter(e.arms.values()))
    used = ", ".join(f"{count} {side}" for side, count in arm["images"].items())
    return PASS, f"{sum(arm['images'].values())} used ({used}), {arm['bad_images']} unusable ones set aside"


@check(12, "data", "where each label comes from")
def _labels(e: Evidence) -> Answer:
    return AUTHOR, "say who labelled the images, from what, and how often two readers agreed"


@check(13, "protocol", "split before anything is fitted")
def _split_first(e: Evidence) -> Answer:
    return PASS, "normalisation, thresholds, temperature and stopping see the training and validation sides only"


@check(14, "protocol", "the test side scored once")
def _test_once(e: Evidence) -> Answer:
    if any("test" in arm for arm in e.arms.values()):
        return AUTHOR, "a test side was scored once in this run; say how many runs looked at it before"
    return WARN, "no test side was held out (data.split.test): the validation side stands in for it"


@check(15, "protocol", "folds and seeds, not the best of them")
def _folds(e: Evidence) -> Answer:
    folds, seeds = e.recipe["training"].get("folds"), e.recipe["training"].get("seeds")
    if folds or (seeds and len(seeds) > 1):
        return PASS, f"{folds or 'no'} folds, {len(seeds) if seeds else 1} seeds, all of them pooled"
    return WARN, "one split and one seed: training.folds and training.seeds show more"


@check(16, "protocol", "which epoch is kept")
def _epoch(e: Evidence) -> Answer:
    keep, test = e.recipe["training"]["keep"], any("test" in arm for arm in e.arms.values())
    if keep == "last" or test:
        return PASS, f"{keep} epoch, declared in the recipe"
    return WARN, f"{keep}, chosen by the validation side that is also reported"


@check(17, "protocol", "augmentations")
def _augmentations(e: Evidence) -> Answer:
    augment = e.recipe["data"]["augment"]
    flips = augment != "none" if isinstance(augment, str) else augment.get("flip", 0) > 0
    words = f"{augment if isinstance(augment, str) else 'spelt out in the recipe'}"
    return (WARN, f"{words}: mirrored images put the heart on the right side") if flips else (PASS, words)


@check(18, "protocol", "the same budget for every arm")
def _budget(e: Evidence) -> Answer:
    epochs = {name: arm["epochs"] for name, arm in e.arms.items()}
    words = ", ".join(f"{name} {count}" for name, count in epochs.items())
    return (PASS if len(set(epochs.values())) == 1 else WARN), f"epochs: {words}"


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
@_audited
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


@check(35, "reporting", "CLAIM, TRIPOD+AI, PROBAST+AI")
def _sheet(e: Evidence) -> Answer:
    return AUTHOR, "the reporting sheet below is filled in as far as a program can; the rest is the author's"


@check(36, "reporting", "model card")
def _card(e: Evidence) -> Answer:
    return PASS, "below; not for diagnosis"


@check(37, "reporting", "environment, hardware, time, memory")
def _environment(e: Evidence) -> Answer:
    versions = e.environment["libraries"]
    tools = f"darkcovid {e.environment['darkcovid']}, torch {versions['torch']}, fastai {versions['fastai']}"
    return PASS, f"{tools}, {e.environment['platform']}; time and memory in each arm's timing.json"


@check(38, "reporting", "the command to run it again")
def _command(e: Evidence) -> Answer:
    return PASS, "darkcovid run recipe.yaml, the file in the run folder"
