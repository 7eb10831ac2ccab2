"""`audit.json`, typed as its readers need it: what the audit of the images found. Attributes are called as the JSON keys are;
what an earlier version did not write has a default."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from darkcovid.metrics.estimates import Interval


@dataclass(frozen=True, slots=True)
class PatientFindings:
    """Patients: all, those with several images, those in more than one set, those with several labels."""

    total: int
    repeated: int
    on_both_sides: int
    with_several_labels: int


@dataclass(frozen=True, slots=True)
class DuplicateFindings:
    """Duplicate pairs: identical and nearly identical ones, those of which the images are in different sets, and those with
    other labels; looked_for: which near copies, a sentence, empty where none were."""

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
    """How well one variable alone tells classes apart; p_holm: after Holm's correction, None where an earlier version made
    none."""

    variable: str
    classes: list[str]
    accuracy: float
    cramers_v: float
    p: float
    chance: float
    p_holm: float | None = None

    @property
    def corrected_p(self) -> float:
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
    """images: of the cohort; unknown_patients: images without a patient; leaks: whether something is in two sets; chance:
    accuracy of the majority class; confounding: the most telling variable first; missing: share of each class's images that lack
    a value, by column; source_from_pixels: None where there is but one source. What needs pixels is None of a manifest alone."""

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

    @property
    def most_telling(self) -> list[ConfounderFindings]:
        """Of each variable the classes that it tells apart best."""
        first: dict[str, ConfounderFindings] = {}
        for confounder in self.confounding:
            first.setdefault(confounder.variable, confounder)
        return list(first.values())


def parse_data_audit(json: Mapping[str, Any]) -> DataAudit:
    """Of an `audit.json`, or of what `darkcovid data audit --json` prints. Raises ValueError that names what is wrong."""
    return _AUDIT.validate_python(json)


_AUDIT = TypeAdapter(DataAudit)
