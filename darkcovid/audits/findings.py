"""`audit.json`, typed as its readers need it: what the audit of the images found. Attributes are called as the JSON keys are;
what an earlier version did not write has a default."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter

from darkcovid.metrics.confidence_intervals import Interval

ONE_ID = "give images that are copies one patient_id in the manifest"


@dataclass(frozen=True, slots=True)
class PatientFindings:
    """Patients: all, those with several images, those in more than one set, those with several labels."""

    total: int
    repeated: int
    on_both_sides: int
    with_several_labels: int


@dataclass(frozen=True, slots=True)
class DuplicateFindings:
    """Duplicate pairs.

    Attributes:
        exact: Identical images.
        near: Near copies.
        exact_across_sides: Identical images in different sets.
        near_across_sides: Near copies in different sets.
        with_other_labels: Pairs whose labels differ.
        looked_for: Which near copies, a sentence; empty where none were looked for.
    """

    exact: int
    near: int
    exact_across_sides: int
    near_across_sides: int
    with_other_labels: int = 0
    looked_for: str = ""


@dataclass(frozen=True, slots=True)
class BaselineFindings:
    """The accuracy of a classifier that sees no lungs, and its 95 % interval over patients."""

    accuracy: float
    interval: Interval | None = None


@dataclass(frozen=True, slots=True)
class ConfounderFindings:
    """How well one variable alone tells classes apart.

    Attributes:
        variable: A column of the manifest.
        classes: That are told apart.
        accuracy: Cross-validated by patient.
        cramers_v: Strength of association, 0..1.
        p: By permutation.
        chance: Accuracy of the majority class.
        p_holm: After Holm's correction; None where an earlier version made none.
    """

    variable: str
    classes: list[str]
    accuracy: float
    cramers_v: float
    p: float
    chance: float
    p_holm: float | None = None

    @property
    def corrected_p(self) -> float:
        """p after Holm's correction where there is one."""
        return self.p if self.p_holm is None else self.p_holm


@dataclass(frozen=True, slots=True)
class SourceFindings:
    """How well the column that names the source is told from 16 pixels per side; chance: accuracy of the majority class."""

    variable: str
    accuracy: float
    balanced_accuracy: float
    chance: float


@dataclass(frozen=True, slots=True)
class AgeFindings:
    """Of a class: images with a known age, their mean age in years, None where none is known, and children."""

    known: int
    mean: float | None
    children: int


@dataclass(frozen=True, slots=True)
class ChecksumFindings:
    """Files that have the manifest's checksum, and files for which it records none."""

    verified: int
    unrecorded: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DataAudit:
    """The audit of a cohort or manifest; what needs pixels is None of a manifest alone.

    Attributes:
        images: Of the cohort.
        patients: Their counts.
        unknown_patients: Images without a patient.
        duplicates: Pairs.
        leaks: Whether something is in two sets.
        chance: Accuracy of the majority class.
        confounding: The most telling variable first.
        metadata_alone: How well metadata tell the class.
        ages: By class.
        missing: Share of each class's images that lack a value, by column.
        image_statistics_alone: How well simple statistics of the pixels tell the class.
        source_from_pixels: How well pixels tell the source; None where there is one source.
        checksums: Of the files.
        leaked_patients: Ids in two sets.
        leaked_pairs: Paths of copies in two sets.
    """

    images: int
    patients: PatientFindings
    unknown_patients: int
    duplicates: DuplicateFindings
    leaks: bool
    chance: float
    confounding: list[ConfounderFindings]
    metadata_alone: BaselineFindings
    ages: dict[str, AgeFindings]
    missing: dict[str, dict[str, float]]
    image_statistics_alone: BaselineFindings | None = None
    source_from_pixels: SourceFindings | None = None
    checksums: ChecksumFindings | None = None
    leaked_patients: list[str] = field(default_factory=list)
    leaked_pairs: list[tuple[str, str]] = field(default_factory=list)

    @property
    def most_telling(self) -> list[ConfounderFindings]:
        """Of each variable the classes that it tells apart best."""
        first: dict[str, ConfounderFindings] = {}
        for confounder in self.confounding:
            first.setdefault(confounder.variable, confounder)
        return list(first.values())


def parse_data_audit(json: Mapping[str, Any]) -> DataAudit:
    """A data audit out of an `audit.json`, or of what `darkcovid data audit --json` prints.

    Raises:
        ValueError: It names what is wrong.
    """
    return _AUDIT.validate_python(json)


_AUDIT = TypeAdapter(DataAudit)
