"""A recipe's cohort: the manifest rows it selects, each one's class and side, and the files behind them."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from darkcovid.data.intake import Intake, take_in
from darkcovid.data.manifest import Manifest, read_manifest
from darkcovid.data.phantom import phantom_manifest
from darkcovid.data.split import random_split, stratified_group_folds, stratified_group_split, stratified_random_split
from darkcovid.errors import DataError, RequestError
from darkcovid.recipe import PHANTOM, Data, Split


@dataclass(frozen=True, slots=True)
class Bad:
    """An image that was set aside, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class Cohort:
    """n usable images. rows: (n) manifest rows; classes: names; labels: (n,) int64 index into `classes`;
    valid: (n,) bool, true on the validation side; files: (n,) paths; sha256: (n,) hex digests of the files' bytes."""

    rows: pd.DataFrame
    classes: tuple[str, ...]
    labels: np.ndarray
    valid: np.ndarray
    files: tuple[Path, ...]
    sha256: tuple[str, ...]
    bad: tuple[Bad, ...]
    manifest: Manifest

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def patients(self) -> pd.Series:
        return patient_groups(self.rows)

    def counts(self) -> dict[str, dict[str, int]]:
        """Images of each class on each side: {"train": {class: n}, "valid": {class: n}}."""
        return {side: self._count(where) for side, where in (("train", ~self.valid), ("valid", self.valid))}

    def take(self, indices: np.ndarray) -> "Cohort":
        """The images at `indices`, (k,) int, in that order."""
        return replace(
            self,
            rows=self.rows.iloc[indices].reset_index(drop=True),
            labels=self.labels[indices],
            valid=self.valid[indices],
            files=tuple(self.files[index] for index in indices),
            sha256=tuple(self.sha256[index] for index in indices),
        )

    def _count(self, where: np.ndarray) -> dict[str, int]:
        found = Counter(self.labels[where].tolist())
        return {name: found[index] for index, name in enumerate(self.classes)}


def patient_groups(rows: pd.DataFrame) -> pd.Series:
    """(n,) patient of each row; a row without a known patient is its own group."""
    return rows.patient_id.where(rows.patient_id != "", "unknown:" + rows.path)


def open_manifest(data: Data, cache_dir: Path) -> Manifest:
    """The manifest that a recipe's `data` names, the phantom cohort drawn when it asks for it."""
    if data.manifest == PHANTOM:
        return phantom_manifest(data.phantom, cache_dir)
    return read_manifest(data.manifest, data.root)


def split_side(rows: pd.DataFrame, labels: pd.Series, split: Split) -> np.ndarray:
    """(n,) bool, true on the validation side, by the recipe's split."""
    if split.folds is not None:
        return stratified_group_folds(labels.tolist(), patient_groups(rows).tolist(), split.folds, split.seed) == split.fold - 1
    names = (rows.dataset + "/" + rows.path).tolist()
    if split.method == "random":
        return random_split(names, split.valid, split.seed)
    if split.method == "stratified_random":
        return stratified_random_split(names, labels.tolist(), split.valid, split.seed)
    return stratified_group_split(labels.tolist(), patient_groups(rows).tolist(), split.valid, split.seed)


def classification_cohort(data: Data, cache_dir: Path) -> Cohort:
    """Rows of the recipe's dataset whose label is one of its classes, split, with unusable files set aside.

    Raises RequestError: a class without images, an empty side; DataError: more than `data.max_bad` unusable files.
    """
    manifest = _selected(data, cache_dir)
    column = manifest.rows[data.label_column]
    for name in data.classes:
        if not (column == name).any():
            present = ", ".join(sorted(set(column) - {""})) or "none"
            raise RequestError(f"data.classes: no image is labelled {name!r}; labels in the manifest: {present}")
    manifest = manifest.select(column.isin(data.classes))
    labels = manifest.rows[data.label_column]
    codes = labels.map({name: index for index, name in enumerate(data.classes)}).to_numpy(np.int64)
    return _assemble(manifest, data, codes, split_side(manifest.rows, labels, data.split), data.classes, cache_dir)


def lung_mask_cohort(data: Data, cache_dir: Path) -> Cohort:
    """Rows that have a human (or exact phantom) lung mask, split by patient; labels are all 0.

    Raises RequestError: no row has a mask; DataError: too many unusable files.
    """
    manifest = _with_masks(data, cache_dir)
    same = pd.Series(["lungs"] * len(manifest.rows))
    side = split_side(manifest.rows, same, data.split)
    return _assemble(manifest, data, np.zeros(len(same), np.int64), side, ("lungs",), cache_dir)


def masked_cohort(data: Data, cache_dir: Path) -> Cohort:
    """Every row that has a lung mask, all of them on the validation side; labels are all 0. Raises as `lung_mask_cohort`."""
    manifest = _with_masks(data, cache_dir)
    count = len(manifest.rows)
    return _assemble(manifest, data, np.zeros(count, np.int64), np.ones(count, bool), (), cache_dir)


def _with_masks(data: Data, cache_dir: Path) -> Manifest:
    manifest = _selected(data, cache_dir)
    manifest = manifest.select(manifest.rows.lung_mask != "")
    if manifest.rows.empty:
        raise RequestError(f"data.manifest: {data.manifest}: no row has a lung_mask, so there are no true lungs to go by")
    return manifest


def _selected(data: Data, cache_dir: Path) -> Manifest:
    manifest = open_manifest(data, cache_dir)
    return manifest if data.dataset is None else manifest.of_dataset(data.dataset, "data.dataset")


def _assemble(
    manifest: Manifest, data: Data, labels: np.ndarray, valid: np.ndarray, classes: tuple[str, ...], cache_dir: Path
) -> Cohort:
    _both_sides(labels, valid, classes, data.split)
    intakes = take_in(manifest, cache_dir)
    good = np.array([intake.fault is None for intake in intakes])
    bad = tuple(Bad(path, intake.fault) for path, intake in zip(manifest.rows.path, intakes, strict=True) if intake.fault)
    _refuse_too_many(bad, len(intakes), data)
    used: list[Intake] = [intake for intake in intakes if intake.fault is None]
    _both_sides(labels[good], valid[good], classes, data.split)
    return Cohort(
        rows=manifest.rows[good].reset_index(drop=True),
        classes=classes,
        labels=labels[good],
        valid=valid[good],
        files=tuple(intake.file for intake in used),
        sha256=tuple(intake.sha256 for intake in used),
        bad=bad,
        manifest=manifest,
    )


def _both_sides(labels: np.ndarray, valid: np.ndarray, classes: tuple[str, ...], split: Split) -> None:
    for index, name in enumerate(classes):
        for side, where in (("training", ~valid), ("validation", valid)):
            if not (labels[where] == index).any():
                raise RequestError(
                    f"data.split: {split.method} with valid={split.valid} and seed={split.seed} leaves no image of "
                    f"{name!r} on the {side} side; use another share or seed, or more images"
                )


def _refuse_too_many(bad: tuple[Bad, ...], total: int, data: Data) -> None:
    if len(bad) <= data.max_bad * total:
        return
    first = bad[0]
    missing = sum(item.reason == "missing" for item in bad)
    if missing:
        source = f" --dataset {data.dataset}" if data.dataset else ""
        fix = f"fetch them with `darkcovid data fetch {data.manifest}{source}`, or name their folder with --data-root"
    else:
        fix = "mend or remove those rows, or raise data.max_bad"
    raise DataError(
        f"{data.manifest}: {len(bad)} of {total} images cannot be used ({missing} missing), "
        f"the first is {first.path} ({first.reason}); {fix}"
    )
