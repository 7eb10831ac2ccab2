"""Does anything of the training side stand on another side? Patients, identical files, near copies; and labels that
contradict one another."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from darkcovid.data.cohort import Cohort
from darkcovid.data.duplicates import Pair, exact_duplicates, near_duplicates
from darkcovid.data.sides import patient_groups
from darkcovid.errors import RequestError

SHOWN = 3


@dataclass(frozen=True)
class Leaks:
    """What was found in a cohort. patients: total, repeated (several images), on_both_sides, with_several_labels; exact,
    near: pairs of images that are the same picture; exact_across, near_across: those on two sides; relabelled: those whose
    labels differ; unknown_patients: images without one."""

    patients: dict[str, int]
    exact: list[tuple[str, str]]
    near: list[tuple[str, str]]
    exact_across: list[tuple[str, str]]
    near_across: list[tuple[str, str]]
    relabelled: list[tuple[str, str]]
    straddling: list[str]
    unknown_patients: int

    @property
    def across(self) -> int:
        """How many patients and pairs of images are on two sides."""
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
                "with_other_labels": len(self.relabelled),
                "pairs": [list(pair) for pair in [*self.exact, *self.near]],
            },
            "leaks": self.leaks,
        }


def find_leaks(
    rows: pd.DataFrame, labels: Sequence[str], sides: Sequence[str], sha256: Sequence[str], near: Sequence[Pair] = ()
) -> Leaks:
    """Look for leaks among n images. rows: of a manifest; labels, sides: (n) names; sha256: (n) of the files, '' where
    unknown; near: pairs of rows that are almost the same picture, as `near_duplicates` finds them."""
    exact, paths = exact_duplicates(sha256), rows.path.tolist()

    def named(pairs: Sequence[Pair]) -> list[tuple[str, str]]:
        return [(paths[a], paths[b]) for a, b in pairs]

    def apart(pairs: Sequence[Pair]) -> list[tuple[str, str]]:
        return named([(a, b) for a, b in pairs if sides[a] != sides[b]])

    table = pd.DataFrame({"patient": patient_groups(rows).to_numpy(), "side": list(sides), "label": list(labels)})
    by_patient = table.groupby("patient")
    straddling = by_patient.side.nunique()
    straddling = straddling.index[straddling > 1].tolist()
    return Leaks(
        patients={
            "total": int(by_patient.ngroups),
            "repeated": int((by_patient.size() > 1).sum()),
            "on_both_sides": len(straddling),
            "with_several_labels": int((by_patient.label.nunique() > 1).sum()),
        },
        exact=named(exact),
        near=named(near),
        exact_across=apart(exact),
        near_across=apart(near),
        relabelled=named([(a, b) for a, b in [*exact, *near] if labels[a] != labels[b]]),
        straddling=straddling,
        unknown_patients=int((rows.patient_id == "").sum()),
    )


def leaks_of(cohort: Cohort, cache_dir: Path) -> Leaks:
    """The leaks of a recipe's cohort, near copies included. cache_dir: where small copies of the pictures go."""
    return leaks_of_splits([cohort], cache_dir)[0]


def leaks_of_splits(cohorts: Sequence[Cohort], cache_dir: Path) -> list[Leaks]:
    """The leaks of each of several splits of the same images, whose near copies are looked for once."""
    first = cohorts[0]
    near = near_duplicates(first.files, first.sha256, cache_dir)
    names = [first.classes[label] for label in first.labels]
    return [find_leaks(first.rows, names, split.side_names.tolist(), first.sha256, near) for split in cohorts]


def refuse_leaks(found: Leaks, allowed: bool) -> None:
    """Raises RequestError when something leaks across the split and the recipe does not allow it."""
    if allowed or not found.leaks:
        return
    faults = []
    if found.straddling:
        names = ", ".join([*found.straddling[:SHOWN], *(["..."] if len(found.straddling) > SHOWN else [])])
        faults.append(f"{len(found.straddling)} patients are on several sides ({names})")
    for kind, pairs in (("identical", found.exact_across), ("almost identical", found.near_across)):
        if pairs:
            faults.append(f"{len(pairs)} pairs of {kind} images are on different sides (the first is {' and '.join(pairs[0])})")
    raise RequestError(
        f"data.split: {'; '.join(faults)}; use data.split.method=stratified_group and mend the manifest, "
        "or allow it with data.allow_leaks=true, and the report will say so"
    )
