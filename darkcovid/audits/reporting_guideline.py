"""What a paper about a run must report, by topic, after CLAIM (Mongan et al. 2020; Tejani et al. 2024) and TRIPOD+AI (Collins et
al. 2024): what the run's own files answer, and what a person must.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from darkcovid.audits.checks import RunEvidence
from darkcovid.audits.checks.evaluation import measures
from darkcovid.evaluation.results import ClassifierArm

UNASKED = "this run did not look: set the recipe's `audit`"
UNKNOWN = "not known here, since the model was made elsewhere"


@dataclass(frozen=True, slots=True)
class GuidelineItem:
    """answer: what the run says, '' where it says nothing; ask: what is left to the author, '' where nothing is."""

    group: str
    name: str
    answer: str
    ask: str


def reporting_sheet(evidence: RunEvidence) -> list[GuidelineItem]:
    """Every topic in the order of a paper."""
    topics = []
    for group, name, answer, ask in _TOPICS:
        known = answer is not None and (evidence.subject is None or answer not in _OF_A_RECIPE)
        said = answer(evidence) if answer and known else ""
        unasked = UNASKED if evidence.subject is None else UNKNOWN
        topics.append(GuidelineItem(group, name, said, ask or ("" if said else unasked)))
    return topics


def _arm(e: RunEvidence) -> ClassifierArm:
    return next(iter(e.arms.values()))


def _data(e: RunEvidence) -> dict[str, Any]:
    return e.recipe["data"]


def _source(e: RunEvidence) -> str:
    datasets = dataset_names(_data(e))
    return f"{_data(e)['manifest']}" + (f", dataset {' and '.join(datasets)}" if datasets else "")


def dataset_names(data: dict[str, Any]) -> list[str]:
    """The datasets that a recipe's `data` names; none where it takes the whole manifest."""
    return list(data.get("datasets") or filter(None, [data["dataset"]]))


def _eligible(e: RunEvidence) -> str:
    data = _data(e)
    kept = [f"classes {', '.join(data['classes'])}"]
    kept += [f"{column} {' or '.join(value or 'unknown' for value in values)}" for column, values in data["where"].items()]
    limit = data["max_per_class"]
    if isinstance(limit, dict):
        kept.append("at most " + ", ".join(f"{count} images of {name}" for name, count in limit.items()))
    elif limit:
        kept.append(f"at most {limit} images per class")
    return "; ".join(kept)


def _preprocessing(e: RunEvidence) -> str:
    sizes = ", ".join(f"{name} {'x'.join(map(str, arm.cost.image_size))}" for name, arm in e.arms.items())
    return f"8-bit gray, resized ({sizes} px); " + e.each(_seen)


def _seen(recipe: dict[str, Any]) -> str:
    lungs = recipe["lungs"]
    where = f"lungs: {lungs['mode']}, margin {lungs['margin']}" if lungs else "whole images"
    contrast = recipe["data"].get("contrast", "none")  # runs of earlier versions have no such key
    enhanced = "" if contrast == "none" else f"contrast: {contrast}, "
    enhanced += "bars along the sides filled with the mirrored image, " if recipe["data"].get("fill_bars") else ""
    return f"{enhanced}normalized: {recipe['data']['normalize']}, {where}"


def _classes(e: RunEvidence) -> str:
    scored = next(iter(e.scored.values())).per_class
    return ", ".join(f"{name} {scores.support}" for name, scores in scored.items()) + " among the images scored"


def _missing(e: RunEvidence) -> str:
    if e.audit is None:
        return ""
    return "; ".join(
        f"{column} unknown: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
        for column, shares in e.audit.missing.items()
    )


def _split(e: RunEvidence) -> str:
    split = _data(e)["split"]
    folds = e.recipe["training"]["folds"]
    how = f"{folds} folds" if folds else f"{split['valid']:.0%} for validation" if isinstance(split["valid"], float) else ""
    test = f", {split['test']} held out for the test" if split["test"] else ""
    return f"{split['method']}, {how}{test}, seed {split['seed']}: " + ", ".join(
        f"{count} {side}" for side, count in _arm(e).summary.images.items()
    )


def _disjoint(e: RunEvidence) -> str:
    if e.audit is None:
        return ""
    both, unknown = e.audit.patients.on_both_sides, e.audit.unknown_patients
    if both:
        return f"images only: {both} patients are in two sets"
    return f"known patients; {unknown} of {e.audit.images} images have no patient id" if unknown else "patients"


def _network(e: RunEvidence) -> str:
    parameters = ", ".join(f"{name} {arm.summary.parameters:,} parameters" for name, arm in e.arms.items())
    means = [f"{name} is the mean of {' and '.join(arm.summary.members)}" for name, arm in e.arms.items() if arm.summary.members]
    return "; ".join([e.each(_architecture) + ", " + parameters, *means])


def _architecture(recipe: dict[str, Any]) -> str:
    return recipe["model"]["arch"] + f" ({_probe(recipe)})" * bool(_probe(recipe))


def _probe(recipe: dict[str, Any]) -> str:
    """What a probe is; '' of a network that is trained."""
    return {
        "linear-probe": "frozen features and a logistic regression",
        "nearest-neighbors": "frozen features and the vote of the 20 nearest training images",
    }.get(recipe["model"]["head"] or "", "")


def _software(e: RunEvidence) -> str:
    return ", ".join(f"{name} {version}" for name, version in e.environment.libraries.items())


def _initial(e: RunEvidence) -> str:
    def words(recipe: dict[str, Any]) -> str:
        weights = recipe["model"]["weights"]
        return "from scratch" if weights == "none" else f"{weights} weights"

    return e.each(words)


def _optimization(e: RunEvidence) -> str:
    def words(recipe: dict[str, Any]) -> str:
        training = recipe["training"]
        if _probe(recipe):
            return "fitted at once, the penalty of a logistic regression chosen on patients left out of the training set"
        return (
            f"{training['epochs']} epochs, batches of {training['batch_size']}, {training['optimizer']['name']}, "
            f"{training['schedule']} to {training['lr']}, weight decay {training['weight_decay']}"
        )

    return e.each(words)


def _augmentation(e: RunEvidence) -> str:
    def words(recipe: dict[str, Any]) -> str:
        augment = recipe["data"]["augment"]
        if isinstance(augment, str):
            return augment
        return ", ".join(f"{key} {value}" for key, value in augment.items() if value not in (0, 0.0, False, [1.0, 1.0]))

    return e.each(words)


def _chosen(e: RunEvidence) -> str:
    def words(recipe: dict[str, Any]) -> str:
        training = recipe["training"]
        if _probe(recipe):
            return "those that were fitted"
        metric = f" by validation {(training.get('monitor') or 'accuracy').replace('_', ' ')}"
        return f"the weights of the {training['checkpoint']} epoch{metric if training['checkpoint'] == 'best' else ''}"

    return e.each(words)


def _uncertainty(e: RunEvidence) -> str:
    intervals = "95 % exact binomial intervals of an effective number of patients (Korn and Graubard 1998)"
    tests = "; arms by exact McNemar tests on patients with Holm's correction"
    return intervals + tests * bool(e.comparison.pairs)


def _robust(e: RunEvidence) -> str:
    audits = {name: arm.metrics.shortcuts for name, arm in e.arms.items()}
    erased = [f"{name} {audit.views['lungs_erased'].accuracy:.3f}" for name, audit in audits.items() if audit]
    return f"accuracy with the lungs erased: {', '.join(erased)}" if erased else ""


def _explained(e: RunEvidence) -> str:
    attention = _arm(e).metrics.attention
    if not attention:
        return ""
    control = any(each.inside_lungs_of_fresh_weights is not None for each in attention.values())
    if control:
        return "Grad-CAM, with the share inside the lungs and fresh weights as a control"
    return "maps that explain the answers (Grad-CAM, integrated gradients or occlusion), with the share inside the lungs"


def _external(e: RunEvidence) -> str:
    return "; ".join(
        f"{name}: {metrics.images} images of {metrics.patients} patients" for name, metrics in _arm(e).metrics.elsewhere.items()
    )


def _flow(e: RunEvidence) -> str:
    summary = _arm(e).summary
    left_out = f", {summary.left_out_of_training} left out of training" if summary.left_out_of_training else ""
    return f"{sum(summary.images.values())} images used, {summary.bad_images} unusable ones excluded{left_out}"


def _demographics(e: RunEvidence) -> str:
    if e.audit is None:
        return ""
    return "; ".join(
        f"{name}: mean age {ages.mean:.0f} of {ages.known} known" if ages.known else f"{name}: no age known"
        for name, ages in e.audit.ages.items()
    )


def _performance(e: RunEvidence) -> str:
    return "; ".join(
        f"{name} {metrics.accuracy:.3f} [{', '.join(f'{bound:.3f}' for bound in metrics.interval('accuracy'))}]"
        for name, metrics in e.scored.items()
    )


def _cost(e: RunEvidence) -> str:
    return "; ".join(
        f"{name} {arm.cost.train_seconds / 60:.1f} min on {arm.cost.device}, {arm.cost.peak_host_bytes / 1e9:.1f} GB"
        for name, arm in e.arms.items()
    )


def _again(e: RunEvidence) -> str:
    return "`darkcovid run recipe.yaml` with the file in the run folder; predictions and splits beside it"


ItemAnswer = Callable[[RunEvidence], str]
_TOPICS: list[tuple[str, str, ItemAnswer | None, str]] = [
    ("study", "aim, clinical role, intended use", None, "what the classifier is for, and for whom"),
    ("study", "design", None, "retrospective or prospective, and what was planned beforehand"),
    ("data", "source", _source, "which hospitals, which years, under which licenses"),
    ("data", "eligibility", _eligible, "how the collection itself was chosen"),
    ("data", "preprocessing", _preprocessing, ""),
    ("data", "missing values", _missing, "why they are missing"),
    ("data", "identity of patients", None, "how images were made anonymous, and which ethics board agreed"),
    ("ground truth", "definition of each class", _classes, "what test or reading makes a case positive"),
    ("ground truth", "annotators", None, "who labeled, with which training, and how often two agreed"),
    ("partitions", "how images were divided", _split, ""),
    ("partitions", "disjoint at the level of", _disjoint, ""),
    ("partitions", "sample size", None, "why so many images are enough"),
    ("model", "network", _network, ""),
    ("model", "software", _software, ""),
    ("model", "initial weights", _initial, ""),
    ("training", "optimization", _optimization, ""),
    ("training", "augmentation", _augmentation, "whether mirrored hearts matter here"),
    ("training", "hyperparameters", None, "what was tried before, on which images"),
    ("training", "which weights are kept", _chosen, ""),
    ("evaluation", "measures", measures, "which of them was to decide"),
    ("evaluation", "uncertainty and tests", _uncertainty, ""),
    ("evaluation", "robustness and shortcuts", _robust, ""),
    ("evaluation", "explanations", _explained, "what a radiologist says of the pictures"),
    ("evaluation", "external data", _external, "how those hospitals differ"),
    ("results", "flow of images", _flow, ""),
    ("results", "demographics", _demographics, "sex and origin, by class and by set"),
    ("results", "performance", _performance, ""),
    ("results", "failures", None, "what the most confident mistakes have in common"),
    ("results", "cost", _cost, ""),
    ("discussion", "limits, bias, who could be harmed", None, "yours to say; the verdict above is where to begin"),
    ("other", "code and data", _again, "where readers find them"),
    ("other", "registration, protocol, funding", None, "yours to say"),
]

_OF_A_RECIPE = (_source, _eligible, _preprocessing, _split, _network, _software, _initial, _optimization, _augmentation, _chosen,
                _cost, _again)  # fmt: skip
