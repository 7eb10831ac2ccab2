"""What was found of an arm, typed, and how it becomes JSON and is read back.

`metrics.json` of a fit, or of an arm's fits pooled, is a `ClassifierFit` or a `SegmenterFit`; an arm of `comparison.json` has the
keys of its `metrics.json` and `timing.json` side by side, and is a `ClassifierArm` or a `SegmenterArm`; all of it is a
`Comparison`. Attributes are called as the JSON keys are. Reading ignores keys that it does not know, and takes the default for
keys that earlier versions did not write; the rest must be there. Every `parse_*` raises ValueError that names what is wrong.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import TypeAdapter

from darkcovid.core.initial_weights import InitialWeights
from darkcovid.metrics.calibration import ReliabilityBin
from darkcovid.metrics.confidence_intervals import Interval
from darkcovid.metrics.metrics_with_intervals import MetricsWithIntervals
from darkcovid.metrics.paired_tests import PairedComparison
from darkcovid.metrics.skill_without_lungs import ViewMetrics
from darkcovid.metrics.thresholds import OperatingPoint

Json = Mapping[str, Any]
VIEWS = ("plain", "lungs_erased", "lungs_only", "border_only", "thumbnail")
IN_SAMPLE = "the images that it was fitted to"


@dataclass(frozen=True, slots=True)
class ClassCount:
    """Images and patients of one class, each counted once however many fits predicted it."""

    images: int
    patients: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Calibration before and after a temperature.

    Attributes:
        bins: The reliability diagram.
        temperature: By which logits are divided.
        fitted_on: The set that it was fitted to.
        judged_by: On which images the next two were measured.
        ece_after: Expected calibration error after it, 0..1.
        log_loss_after: Nats after it.
    """

    bins: list[ReliabilityBin]
    temperature: float
    fitted_on: str
    judged_by: str = IN_SAMPLE
    ece_after: float
    log_loss_after: float


@dataclass(frozen=True, slots=True)
class Subgroup:
    """One group of patients.

    Attributes:
        variable: sex, view or age band.
        value: Of the variable.
        images: Each counted once however many fits predicted it.
        patients: Likewise.
        accuracy: On the images; None below ten patients.
        interval: Its 95 % interval; None below ten patients.
    """

    variable: str
    value: str
    images: int
    patients: int
    accuracy: float | None
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class SubgroupTest:
    """variable: by which patients were grouped; groups: its values; p: of a permutation of the patients among them."""

    variable: str
    groups: list[str]
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformalMetrics:
    """Sets of classes that are to hold the true one, and what is left of wrong answers where only sets of one class are answers.

    Attributes:
        level: Share of images whose set is to hold the true class, 0..1.
        thresholds: Of each class, the lowest probability with which it is in a set; from the validation set, or, where several
            sources were held out in turn, for images from elsewhere from the predictions of those.
        judged_by: On which images the rest was measured.
        coverage: Share of images whose set holds the true class.
        interval: Of that, 95 % over patients.
        per_class: The same of each class's images; None of a class without any.
        set_sizes: Share of images whose set has 0, 1, 2 ... classes.
        unlike: Share of images that are unlike the training images by the network's features; None where that is not known.
        answered: Share of images with a set of one class, and not unlike the training images.
        wrong_answers: Share of all images that are answered, and wrongly.
        wrong_above_half: Share of all images whose most probable class is wrong, at a probability of at least .5: the wrong
            answers of a network that refuses nothing.
    """

    level: float
    thresholds: dict[str, float]
    judged_by: str
    coverage: float
    interval: Interval
    per_class: dict[str, float | None]
    set_sizes: list[float]
    unlike: float | None
    answered: float
    wrong_answers: float
    wrong_above_half: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SetMetrics(MetricsWithIntervals):
    """All metrics of one set of images: validation, test, or an external one.

    Attributes:
        images_per_class: Counts by class.
        predictions_per_image: Of how many fits.
        calibration: Of the probabilities.
        operating_points: By class.
        subgroups: By sex, view and age band.
        subgroup_tests: Of differences among subgroups.
        conformal: Of sets of classes; None in runs of earlier versions.
    """

    images_per_class: dict[str, ClassCount] = field(default_factory=dict)
    predictions_per_image: float = 1.0
    calibration: Calibration
    operating_points: dict[str, list[OperatingPoint]]
    subgroups: list[Subgroup]
    subgroup_tests: list[SubgroupTest] = field(default_factory=list)
    conformal: ConformalMetrics | None = None

    def as_dict(self) -> dict[str, Any]:
        """As in `metrics.json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class MetricDrop:
    """One metric on two sets.

    Attributes:
        inside: On the internal set.
        outside: On the external set.
        fall: Inside less outside.
        interval: Of that, 95 %.
    """

    inside: float
    outside: float
    fall: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class PerformanceDrop:
    """The drop to an external set.

    Attributes:
        classes: Those that both sets have, whose images alone count.
        metrics: accuracy, balanced_accuracy, `<class>.recall` and `<class>.roc_auc`, those that both sets have.
    """

    classes: list[str]
    metrics: dict[str, MetricDrop]

    def as_dict(self) -> dict[str, Any]:
        """As in `metrics.json`."""
        return {"classes": self.classes} | {name: asdict(drop) for name, drop in self.metrics.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalMetrics(SetMetrics):
    """The metrics of an external set.

    Attributes:
        images: Each counted once.
        patients: Each counted once.
        fall: The performance drop to it.
        labels: The set's own to the classes here.
        left_out: Images that are not scored, by reason.
        bad_images: Unreadable ones.
        untrusted_lungs: Rejected lung masks; None without lungs.
    """

    images: int
    patients: int
    fall: PerformanceDrop
    labels: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    bad_images: int = 0
    untrusted_lungs: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """As in `metrics.json`."""
        return asdict(self) | {"fall": self.fall.as_dict()}


@dataclass(frozen=True, slots=True)
class AveragedMetrics:
    """Of the mean over augmented views."""

    accuracy: float
    balanced_accuracy: float
    log_loss: float


@dataclass(frozen=True, slots=True)
class NormalizerFacts:
    """Whether a normalizer fits the training images.

    Attributes:
        kind: As `data.normalize` says.
        mean: Mean gray that the normalizer goes by, 0..1; None where the kind goes by none.
        training_mean: Mean gray of the training images, 0..1; None likewise.
    """

    kind: str
    mean: float | None = None
    training_mean: float | None = None

    @property
    def distance(self) -> float:
        """How far the mean gray is from that of the training images, 0 where there is none."""
        return 0.0 if self.mean is None or self.training_mean is None else abs(self.mean - self.training_mean)

    def as_dict(self) -> dict[str, Any]:
        """As in `metrics.json`."""
        return _without_none(asdict(self))


@dataclass(frozen=True, slots=True)
class LungAttention:
    """Grad-CAM of one class's images, None where there is no heatmap.

    Attributes:
        inside_lungs: Mean share of the heatmap inside the lungs.
        inside_lungs_of_fresh_weights: The same of a randomly initialized network.
        lungs_of_picture: Share of the image that is lung.
    """

    inside_lungs: float | None
    inside_lungs_of_fresh_weights: float | None
    lungs_of_picture: float | None

    @property
    def looks_elsewhere(self) -> bool:
        """Whether less of the map is inside the lungs than of the image, or than of the map of a network that learned nothing."""
        if self.inside_lungs is None:
            return False
        references = (self.lungs_of_picture, self.inside_lungs_of_fresh_weights)
        return any(self.inside_lungs < reference for reference in references if reference is not None)


@dataclass(frozen=True, slots=True)
class SourceSeparability:
    """How well the source of an image is told by a network's features, among images of one class, mean over classes.

    Attributes:
        balanced_accuracy: Cross-validated over patients.
        chance: One over the number of sources.
    """

    balanced_accuracy: float
    chance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OcclusionAudit:
    """What a classifier predicts with parts of the images hidden.

    Attributes:
        images: Those whose lung masks are accepted.
        chance: Accuracy of the majority class.
        views: By the names of `VIEWS`.
    """

    images: int
    chance: float
    views: dict[str, ViewMetrics]

    @property
    def plain(self) -> ViewMetrics:
        """Metrics of the plain images."""
        return self.views["plain"]

    @property
    def skill_without_lungs(self) -> float | None:
        """The share of the accuracy above chance that is left without lungs; None where there was none."""
        above, left = self.plain.accuracy - self.chance, self.views["lungs_erased"].accuracy - self.chance
        return max(0.0, left / above) if above > 0 else None

    def as_dict(self) -> dict[str, Any]:
        """As in `metrics.json`."""
        views = {name: asdict(view) for name, view in self.views.items()}
        return {"images": self.images, "chance": self.chance, **views, "skill_without_lungs": self.skill_without_lungs}


NO_OCCLUSION = {"images": 0}  # what stands in the JSON of an audit that found no image whose lungs are trusted


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmMetrics:
    """All metrics of a classifier.

    Attributes:
        valid: Of the validation set.
        scored_on: The set that the headline comes from.
        test: None where there is no test set.
        sources: Of each source that was held out in turn (`leave_source_out`), together the test set.
        external: By set.
        tta: By set, of `training.tta_views`.
        normalizer: Whether it fits the training images.
        source_separability: Of the network's features; None where no class has images of several sources.
        untrusted_lungs: Rejected lung masks.
        audited: Whether shortcuts were audited.
        shortcuts: Of the audit; None where there was none; its `images` is 0 where no lung mask was accepted.
        attention: Of the audit, by class.
        labels_only: Whether predictions were labels without scores, so that nothing is known of probabilities.
    """

    valid: SetMetrics
    scored_on: str = ""
    test: SetMetrics | None = None
    sources: dict[str, ExternalMetrics] = field(default_factory=dict)
    external: dict[str, ExternalMetrics] = field(default_factory=dict)
    tta: dict[str, AveragedMetrics] = field(default_factory=dict)
    normalizer: NormalizerFacts | None = None
    source_separability: SourceSeparability | None = None
    untrusted_lungs: int = 0
    audited: bool = False
    shortcuts: OcclusionAudit | None = None
    attention: dict[str, LungAttention] = field(default_factory=dict)
    labels_only: bool = False

    @property
    def elsewhere(self) -> dict[str, ExternalMetrics]:
        """Of every set of images from elsewhere: sources held out, and external sets."""
        return self.sources | self.external

    @property
    def headline(self) -> SetMetrics:
        """The metrics that a verdict rests on: those of the test set where there is one, else of the validation set or of all
        folds."""
        return self.test or self.valid

    def as_dict(self) -> dict[str, Any]:
        """As in `metrics.json`: the validation set's at the top, the others below their names; what there is none of is left
        out."""
        others: dict[str, Any] = {"scored_on": self.scored_on}
        if self.test:
            others["test"] = self.test.as_dict()
        if self.sources:
            others["sources"] = {name: metrics.as_dict() for name, metrics in self.sources.items()}
        if self.external:
            others["external"] = {name: metrics.as_dict() for name, metrics in self.external.items()}
        if self.tta:
            others["tta"] = {name: asdict(metrics) for name, metrics in self.tta.items()}
        if self.normalizer:
            others["normalizer"] = self.normalizer.as_dict()
        if self.source_separability:
            others["source_separability"] = asdict(self.source_separability)
        if self.labels_only:
            others["labels_only"] = True
        others["untrusted_lungs"] = self.untrusted_lungs
        if self.audited:
            others["shortcuts"] = self.shortcuts.as_dict() if self.shortcuts else NO_OCCLUSION
            others["attention"] = {name: asdict(attention) for name, attention in self.attention.items()}
        return self.valid.as_dict() | others


@dataclass(frozen=True, slots=True)
class Spread:
    """Over images."""

    mean: float
    median: float
    p5: float
    min: float


@dataclass(frozen=True, slots=True)
class LungKept:
    """mean: share of the lungs inside the crop; share_at_95: images that keep 95 % of them."""

    mean: float
    share_at_95: float


@dataclass(frozen=True, slots=True)
class MaskMetrics:
    """Of lung masks against masks by hand, every share in 0..1; untrusted: how many masks are."""

    dice: Spread
    iou: Spread
    lung_kept: LungKept
    box_iou_mean: float
    crop_area_mean: float
    untrusted: int

    def as_dict(self) -> dict[str, Any]:
        """As in `metrics.json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class BadImage:
    """An image that could not be read, and why."""

    image: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSummary:
    """What a fit was of. images: by set; left_out_of_training: by `data.leave_out`, or of patients of the source held out;
    merged_patient_ids: spellings that were taken for one patient; initial_weights: None for
    random ones; members: names of the arms that an ensemble averages."""

    classes: list[str] = field(default_factory=list)
    images: dict[str, int]
    parameters: int
    initial_weights: InitialWeights | None = None
    excluded_by_label: dict[str, int] = field(default_factory=dict)
    left_out_of_training: int = 0
    merged_patient_ids: list[list[str]] = field(default_factory=list)
    bad_images: int
    bad: list[BadImage] = field(default_factory=list)
    members: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """As in `metrics.json`."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ClassifierFit:
    """A classifier's `metrics.json`."""

    summary: FitSummary
    metrics: ArmMetrics

    def as_dict(self) -> dict[str, Any]:
        """As in `metrics.json`."""
        return self.summary.as_dict() | self.metrics.as_dict()


@dataclass(frozen=True, slots=True)
class SegmenterFit:
    """A lung segmenter's `metrics.json`."""

    summary: FitSummary
    metrics: MaskMetrics

    def as_dict(self) -> dict[str, Any]:
        """As in `metrics.json`."""
        return self.summary.as_dict() | self.metrics.as_dict()


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmCost:
    """An arm's `timing.json`, of several fits together.

    Attributes:
        image_size: (height, width) in pixels.
        epochs: Of one fit.
        train_seconds: Over all epochs, training and validation.
        epoch_seconds: Of the median epoch.
        train_images_per_second: Of training steps.
        peak_host_bytes: Of host memory.
        peak_device_bytes: Of device memory.
        host_joules: None where it is not measured.
        device_joules: None where it is not measured.
        device: Its kind.
        precision: fp32, bf16 or fp16.
        data_wait_seconds: Of waiting for data, over all epochs.
        forward_backward_seconds: Of training steps, over all epochs.
        validation_seconds: Over all epochs.
        prepare_seconds: Of decoding and cropping; None for a lung segmenter.
        segment_seconds: Of segmenting the lungs; likewise.
        audit_seconds: Of the shortcut audit; None without one.
        prepared_in_this_run: Whether inputs were made for this fit, not read from the cache; None for a lung segmenter.
        fits: How many.
    """

    image_size: tuple[int, int]
    epochs: int
    train_seconds: float
    epoch_seconds: float
    train_images_per_second: float
    peak_host_bytes: int
    peak_device_bytes: int
    host_joules: float | None = None
    device_joules: float | None = None
    device: str = ""
    precision: str = ""
    data_wait_seconds: float | None = None
    forward_backward_seconds: float | None = None
    validation_seconds: float | None = None
    prepare_seconds: float | None = None
    segment_seconds: float | None = None
    audit_seconds: float | None = None
    prepared_in_this_run: bool | None = None
    fits: int = 1

    def as_dict(self) -> dict[str, Any]:
        """As in `timing.json`."""
        height, width = self.image_size
        return asdict(self) | {"pixels_per_image": height * width}


@dataclass(frozen=True, slots=True)
class ClassifierArm:
    """A classifier's arm of a comparison. speedup: how many times shorter its median epoch is than the reference arm's."""

    summary: FitSummary
    metrics: ArmMetrics
    cost: ArmCost
    speedup: float | None


@dataclass(frozen=True, slots=True)
class SegmenterArm:
    """A lung segmenter's arm of a comparison."""

    summary: FitSummary
    metrics: MaskMetrics
    cost: ArmCost
    speedup: float | None


Arm = ClassifierArm | SegmenterArm


@dataclass(frozen=True, slots=True)
class Comparison:
    """`comparison.json`, or several runs' arms side by side.

    Attributes:
        run_dir: The run's folder, or several.
        reference_arm: With which the others are compared.
        arms: By name.
        pairs: Of classifiers, each against its reference.
        not_comparable: Why arms should not be compared.
        not_paired: Which arms have no paired test, and why.
        runs: The folder of each run by the number that its arms' names begin with; empty of one run.
    """

    run_dir: str
    reference_arm: str
    arms: dict[str, Arm]
    pairs: list[PairedComparison] = field(default_factory=list)
    not_comparable: list[str] = field(default_factory=list)
    not_paired: list[str] = field(default_factory=list)
    runs: dict[str, str] = field(default_factory=dict)


def parse_comparison(json: Json) -> Comparison:
    """Of a `comparison.json`."""
    return Comparison(
        run_dir=json["run_dir"],
        reference_arm=json["reference_arm"],
        arms={name: parse_arm(arm) for name, arm in json["arms"].items()},
        pairs=_PAIRS.validate_python(json.get("pairs", [])),
        not_comparable=list(json.get("not_comparable", [])),
        not_paired=list(json.get("not_paired", [])),
        runs=dict(json.get("runs", {})),
    )


def parse_arm(json: Json) -> Arm:
    """Of an arm of a `comparison.json`."""
    cost, speedup = _COST.validate_python({**json, "fits": _fit_count(json)}), json.get("speedup")
    if is_segmenter(json):
        return SegmenterArm(_SUMMARY.validate_python(json), _MASKS.validate_python(json), cost, speedup)
    return ClassifierArm(_SUMMARY.validate_python(json), parse_metrics(json), cost, speedup)


def parse_cost(json: Json) -> ArmCost:
    """Of a `timing.json`."""
    return _COST.validate_python(json)


def parse_classifier_fit(json: Json) -> ClassifierFit:
    """Of a classifier's `metrics.json`."""
    return ClassifierFit(_SUMMARY.validate_python(json), parse_metrics(json))


def parse_segmenter_fit(json: Json) -> SegmenterFit:
    """Of a lung segmenter's `metrics.json`."""
    return SegmenterFit(_SUMMARY.validate_python(json), _MASKS.validate_python(json))


def is_segmenter(json: Json) -> bool:
    """Whether a `metrics.json`, or an arm of a comparison, is of a lung segmenter."""
    return "dice" in json


def parse_metrics(json: Json) -> ArmMetrics:
    """Of a classifier's `metrics.json`, or of its arm of a comparison."""
    shortcuts = json.get("shortcuts")
    return ArmMetrics(
        valid=_SET.validate_python(json),
        scored_on=json.get("scored_on", ""),
        test=_SET.validate_python(json["test"]) if "test" in json else None,
        sources={name: parse_external(metrics) for name, metrics in json.get("sources", {}).items()},
        external={name: parse_external(metrics) for name, metrics in json.get("external", {}).items()},
        tta=_TTA.validate_python(json.get("tta", {})),
        normalizer=_NORMALIZER.validate_python(json["normalizer"]) if json.get("normalizer") else None,
        source_separability=_SOURCES.validate_python(json["source_separability"]) if "source_separability" in json else None,
        untrusted_lungs=json.get("untrusted_lungs", 0),
        labels_only=json.get("labels_only", False),
        audited=shortcuts is not None,
        shortcuts=parse_occlusion(shortcuts) if shortcuts and shortcuts["images"] else None,
        attention=_ATTENTION.validate_python(json.get("attention", {})),
    )


def parse_external(json: Json) -> ExternalMetrics:
    """Of an external set of a `metrics.json`."""
    metrics = {name: drop for name, drop in json["fall"].items() if name != "classes"}
    return _EXTERNAL.validate_python({**json, "fall": {"classes": json["fall"]["classes"], "metrics": metrics}})


def parse_occlusion(json: Json) -> OcclusionAudit:
    """Of `shortcuts` of a `metrics.json`, of at least one image."""
    views = {name: json[name] for name in VIEWS if name in json}
    return _OCCLUSION.validate_python({"images": json["images"], "chance": json["chance"], "views": views})


def _fit_count(json: Json) -> int:
    """`timing.json` counts the fits under the name by which `metrics.json` lists them; it comes second, where it has them."""
    fits = json.get("fits", 1)
    return fits if isinstance(fits, int) else len(fits)


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


_SUMMARY = TypeAdapter(FitSummary)
_SET = TypeAdapter(SetMetrics)
_EXTERNAL = TypeAdapter(ExternalMetrics)
_TTA = TypeAdapter(dict[str, AveragedMetrics])
_NORMALIZER = TypeAdapter(NormalizerFacts)
_OCCLUSION = TypeAdapter(OcclusionAudit)
_SOURCES = TypeAdapter(SourceSeparability)
_ATTENTION = TypeAdapter(dict[str, LungAttention])
_MASKS = TypeAdapter(MaskMetrics)
_COST = TypeAdapter(ArmCost)
_PAIRS = TypeAdapter(list[PairedComparison])
