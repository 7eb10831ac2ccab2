"""Does anything of the training set stand in another set? Patients, identical files, near copies; and labels that
contradict one another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from darkcovid.audits.findings import ONE_ID
from darkcovid.audits.metadata import MetadataCounts, PandasMetadata, identities, metadata_table
from darkcovid.core.errors import UsageError
from darkcovid.data.cohort import LEFT_OUT, Cohort
from darkcovid.data.near_duplicates.search import Pair, cached_near_duplicates, describe_alterations

SHOWN = 3


@dataclass(frozen=True, slots=True)
class DuplicatePair:
    """Two images that are the same picture: their paths, whether they are in two sets, and whether their labels differ."""

    first: str
    other: str
    across: bool
    relabeled: bool

    @property
    def paths(self) -> tuple[str, str]:
        """Of both images."""
        return self.first, self.other


@dataclass(frozen=True)
class LeakageReport:
    """Leaks of a cohort.

    Attributes:
        patients: total, repeated (several images), on_both_sides, with_several_labels.
        exact: Pairs of identical images.
        near: Pairs of near copies.
        exact_across: Identical images in two sets.
        near_across: Near copies in two sets.
        relabeled: Pairs whose labels differ.
        straddling: Patients in two sets.
        unknown_patients: Images without one.
        looked_for: Which near copies, a sentence; empty where none were looked for.
    """

    patients: dict[str, int]
    exact: list[tuple[str, str]]
    near: list[tuple[str, str]]
    exact_across: list[tuple[str, str]]
    near_across: list[tuple[str, str]]
    relabeled: list[tuple[str, str]]
    straddling: list[str]
    unknown_patients: int
    looked_for: str

    @property
    def across(self) -> int:
        """How many patients and pairs of images are in two sets."""
        return len(self.straddling) + len(self.exact_across) + len(self.near_across)

    @property
    def leaks(self) -> bool:
        """Whether anything that was learned from is also judged by."""
        return self.across > 0

    def as_dict(self) -> dict[str, Any]:
        """The keys of `data audit`."""
        return {
            "patients": self.patients,
            "unknown_patients": self.unknown_patients,
            "duplicates": {
                "exact": len(self.exact),
                "near": len(self.near),
                "exact_across_sides": len(self.exact_across),
                "near_across_sides": len(self.near_across),
                "with_other_labels": len(self.relabeled),
                "looked_for": self.looked_for,
                "pairs": [list(pair) for pair in [*self.exact, *self.near]],
            },
            "leaks": self.leaks,
            "leaked_patients": self.straddling,
            "leaked_pairs": [list(pair) for pair in [*self.exact_across, *self.near_across]],
        }


def find_leaks(facts: MetadataCounts, near: Sequence[DuplicatePair] | None = None) -> LeakageReport:
    """Look for leaks among images.

    Args:
        facts: Their metadata, counted.
        near: Those that are near copies; None where none were looked for.

    Returns:
        The leaks.
    """
    sentence, near = "" if near is None else describe_alterations(), near or ()
    patients, exact = facts.patients(), exact_duplicates(facts.copies())
    return LeakageReport(
        patients={
            "total": patients.total,
            "repeated": patients.repeated,
            "on_both_sides": len(patients.straddling),
            "with_several_labels": patients.with_several_labels,
        },
        exact=[pair.paths for pair in exact],
        near=[pair.paths for pair in near],
        exact_across=[pair.paths for pair in exact if pair.across],
        near_across=[pair.paths for pair in near if pair.across],
        relabeled=[pair.paths for pair in [*exact, *near] if pair.relabeled],
        straddling=list(patients.straddling),
        unknown_patients=patients.unknown,
        looked_for=sentence,
    )


def exact_duplicates(copies: pd.DataFrame) -> list[DuplicatePair]:
    """The first image of each checksum with every other one of it. copies: as `Facts.copies` gives them."""
    pairs = []
    for _, same in copies.groupby("sha256", sort=False):
        first, *others = same.itertuples(index=False)
        pairs += [DuplicatePair(first.path, other.path, first.side != other.side, first.label != other.label) for other in others]
    return sorted(pairs, key=lambda pair: pair.paths)


def near_duplicate_pairs(cohort: Cohort, pairs: Sequence[Pair]) -> list[DuplicatePair]:
    """Near copies with their paths, sets and labels.

    Args:
        cohort: n images.
        pairs: Of rows, as `cached_near_duplicates` finds them.

    Returns:
        One entry per pair.
    """
    paths, sides, labels = cohort.rows.path.tolist(), cohort.side_names, cohort.labels
    return [DuplicatePair(paths[a], paths[b], bool(sides[a] != sides[b]), bool(labels[a] != labels[b])) for a, b in pairs]


def cohort_facts(cohort: Cohort, of: Callable = metadata_table) -> pd.DataFrame:
    """The metadata of a cohort's images, with the checksums of the files themselves.

    Args:
        cohort: n images.
        of: `metadata_table`, or `identities` alone.

    Returns:
        (n) rows.
    """
    rows = cohort.rows.assign(sha256=list(cohort.sha256))
    return of(rows, [cohort.classes[label] for label in cohort.labels], cohort.side_names)


def find_cohort_leaks(cohort: Cohort, cache_dir: Path) -> LeakageReport:
    """The leaks of a recipe's cohort, near copies included.

    Args:
        cohort: The images.
        cache_dir: Where reduced images and pairs are kept.

    Returns:
        The leaks.
    """
    return find_leaks_of_splits([cohort], cache_dir)[0]


def find_leaks_of_splits(cohorts: Sequence[Cohort], cache_dir: Path) -> list[LeakageReport]:
    """The leaks of each of several splits of the same images, whose near copies are looked for once.

    Args:
        cohorts: One per split.
        cache_dir: Where reduced images and pairs are kept.

    Returns:
        One report per split.
    """
    first = cohorts[0]
    near, who = cached_near_duplicates(first.files, first.sha256, cache_dir), cohort_facts(first, identities)
    return [_leaks_of_split(split, who, near) for split in cohorts]


def _leaks_of_split(split: Cohort, who: pd.DataFrame, near: Sequence[Pair]) -> LeakageReport:
    """Images that are left out of training leak nothing: they are in no set."""
    used = split.used_as != LEFT_OUT
    pairs = [pair for pair in near if used[pair[0]] and used[pair[1]]]
    return find_leaks(PandasMetadata(who.assign(side=split.side_names)[used]), near_duplicate_pairs(split, pairs))


def check_no_leaks(leaks: LeakageReport, allowed: bool) -> None:
    """Refuse a split that leaks.

    Args:
        leaks: Its leaks.
        allowed: Whether the recipe allows them.

    Raises:
        UsageError: Something leaks, and the recipe does not allow it.
    """
    if allowed or not leaks.leaks:
        return
    faults = []
    if leaks.straddling:
        names = ", ".join([*leaks.straddling[:SHOWN], *(["..."] if len(leaks.straddling) > SHOWN else [])])
        faults.append(f"{len(leaks.straddling)} patients are in several sets ({names})")
    for kind, pairs in (("identical", leaks.exact_across), ("almost identical", leaks.near_across)):
        if pairs:
            counted = "1 pair" if len(pairs) == 1 else f"{len(pairs)} pairs"
            verb = "is" if len(pairs) == 1 else "are"
            faults.append(f"{counted} of {kind} images {verb} in different sets (the first is {' and '.join(pairs[0])})")
    advice = ["keep patients together with data.split.method=stratified_group"] * bool(leaks.straddling)
    if leaks.exact_across or leaks.near_across:
        advice.append(
            f"{ONE_ID} (`darkcovid data import FOLDER --merge-copies --update` does that, between collections "
            "`darkcovid data merge A.csv B.csv --merge-copies`)"
        )
    allow = "or allow it with data.allow_leaks=true, and the report will say so"
    raise UsageError(f"data.split: {'; '.join(faults)}; {' and '.join(advice)}, {allow}")
