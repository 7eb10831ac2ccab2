"""A recipe's cohort: the manifest rows it selects, each one's class and side, and the files behind them."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from darkcovid.core.errors import DataError, UsageError, one_line
from darkcovid.data.check_files import FileCheck, validate_files
from darkcovid.data.manifest import Manifest, read_manifest
from darkcovid.data.phantom import phantom_manifest
from darkcovid.data.splits import (
    assign_splits,
    check_all_classes_present,
    image_ids,
    n_per_class_split,
    of_patients_elsewhere,
    patient_groups,
)
from darkcovid.data.table_cells import INVISIBLE, normalize_value
from darkcovid.recipe import PHANTOM, REST, SUSPECTS, Data
from darkcovid.recipe.errors import suggest_name

LEFT_OUT = "left_out"
UNSCORED = ("train", LEFT_OUT)  # sides of images by which nothing is scored


@dataclass(frozen=True, slots=True)
class ExcludedImage:
    """An image that is excluded, and why."""

    path: str
    reason: str


@dataclass(frozen=True, repr=False)
class Cohort:
    """n usable images, labeled and split.

    Attributes:
        rows: (n) rows of the manifest.
        classes: Their names.
        labels: (n,) int64, index into `classes`.
        valid: (n,) bool, true on the validation set.
        test: (n,) bool, true on the held-out test set.
        files: (n) paths.
        sha256: (n) hex digests of the files' bytes.
        sizes: (n, 2) int, width and height of each decoded image in pixels.
        bad: Images that cannot be used.
        manifest: The rows that the recipe asked for, unusable ones included.
        excluded_by_label: How many rows are of no class, by label.
        left_out: Paths of images that are not trained on.
    """

    rows: pd.DataFrame
    classes: tuple[str, ...]
    labels: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    files: tuple[Path, ...]
    sha256: tuple[str, ...]
    sizes: np.ndarray
    bad: tuple[ExcludedImage, ...]
    manifest: Manifest
    excluded_by_label: dict[str, int] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        sets = ", ".join(f"{int(rows.sum())} {name}" for name, rows in self.sides.items())
        return f"Cohort({len(self)} images of {self.patients.nunique()} patients; {', '.join(self.classes)}; {sets})"

    @property
    def patients(self) -> pd.Series:
        """(n,) patient of each image, `patient_groups`."""
        return patient_groups(self.rows)

    @property
    def train(self) -> np.ndarray:
        """(n,) bool, true on the training set."""
        rest = ~(self.valid | self.test)
        return rest & ~self.rows.path.isin(self.left_out).to_numpy() if self.left_out else rest

    @property
    def sides(self) -> dict[str, np.ndarray]:
        """The (n,) bool mask of each set there is: train, valid, and test where images were held out."""
        return {"train": self.train, "valid": self.valid} | ({"test": self.test} if self.test.any() else {})

    @property
    def side_names(self) -> np.ndarray:
        """(n,) name of each image's set in the split: train, valid or test."""
        return np.select([self.valid, self.test], ["valid", "test"], "train")

    @property
    def used_as(self) -> np.ndarray:
        """(n,) what each image was used as: its set, or left_out."""
        return np.where(self.train | self.valid | self.test, self.side_names, LEFT_OUT)

    def counts(self) -> dict[str, dict[str, int]]:
        """Images of each class in each set: {"train": {class: n}, "valid": {class: n}, "test": ...}."""
        return {side: self._count(where) for side, where in self.sides.items()}

    def take(self, indices: np.ndarray) -> "Cohort":
        """The images at `indices`, (k,) int, in that order."""
        return replace(
            self,
            rows=self.rows.iloc[indices].reset_index(drop=True),
            labels=self.labels[indices],
            valid=self.valid[indices],
            test=self.test[indices],
            files=tuple(self.files[index] for index in indices),
            sha256=tuple(self.sha256[index] for index in indices),
            sizes=self.sizes[indices],
        )

    def leaving_out(self, data: Data) -> "Cohort":
        """The cohort without the images of the file `data.leave_out` in its training set.

        Args:
            data: The recipe's section.

        Returns:
            The cohort, the same where the recipe names no file.

        Raises:
            DataError: The file cannot be read, or has no column `image`.
            UsageError: None of its images is in the cohort, or no training image of a class is left.
        """
        if data.leave_out in (None, SUSPECTS):
            return self
        named = read_image_list(Path(data.leave_out))
        if not self.rows.path.isin(named).any():
            raise UsageError(f"data.leave_out: {data.leave_out}: none of its {len(named)} images is in the cohort")
        return self.without(named, f"data.leave_out: {data.leave_out}")

    def without(self, images: frozenset[str], where: str) -> "Cohort":
        """The cohort without some images in its training set.

        Args:
            images: Their paths.
            where: They are named, for the message.

        Returns:
            The cohort.

        Raises:
            UsageError: No training image of a class is left.
        """
        left = replace(self, left_out=self.left_out | images)
        for index, name in enumerate(self.classes):
            if not (left.labels[left.train] == index).any():
                raise UsageError(f"{where}: no training image of {name} is left")
        return left

    def with_shuffled_labels(self, seed: int) -> "Cohort":
        """The training set's labels dealt among its images at random: nothing can be learned from them."""
        labels, train = self.labels.copy(), np.flatnonzero(self.train)
        labels[train] = np.random.default_rng(seed).permutation(labels[train])
        return replace(self, labels=labels)

    def _count(self, where: np.ndarray) -> dict[str, int]:
        counts = Counter(self.labels[where].tolist())
        return {name: counts[index] for index, name in enumerate(self.classes)}


def read_image_list(path: Path) -> frozenset[str]:
    """The images named in a CSV file with a column `image`.

    Raises:
        DataError: It cannot be read, or has no such column.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise DataError(f"data.leave_out: {path}: not readable as CSV ({one_line(error)[:100]})") from None
    if "image" not in table:
        raise DataError(f"data.leave_out: {path}: no column `image`; it has: {', '.join(map(str, table.columns[:8]))}")
    return frozenset(table.image)


def open_manifest(data: Data, cache_dir: Path) -> Manifest:
    """The manifest that a recipe's `data` names; the phantom cohort is drawn when it asks for that.

    Args:
        data: The recipe's section.
        cache_dir: Where phantoms are drawn.

    Returns:
        All rows of the manifest.

    Raises:
        UsageError, DataError: As `read_manifest` does.
    """
    if data.manifest == PHANTOM:
        return phantom_manifest(data.phantom, cache_dir)
    return read_manifest(data.manifest, data.root)


def load_classification_cohort(data: Data, cache_dir: Path) -> Cohort:
    """Rows of the recipe's dataset whose label is one of its classes, split, without unusable files.

    Args:
        data: The recipe's section.
        cache_dir: Where phantoms, and what is known of files, are kept.

    Returns:
        The cohort.

    Raises:
        UsageError: A class without images, or a set without images of a class.
        DataError: More than `data.max_bad` unusable files.
    """
    manifest, labels, excluded = select_rows(data, cache_dir)
    codes = labels.map({name: index for index, name in enumerate(data.classes)}).to_numpy(np.int64)
    valid, test = assign_splits(manifest.rows, labels, data.split)
    cohort = build_cohort(manifest, data, codes, (valid, test), data.classes, cache_dir)
    if data.split.method == "leave_source_out":
        cohort = cohort.without(frozenset(manifest.rows.path[of_patients_elsewhere(manifest.rows, test)]), "data.split")
    return replace(cohort, excluded_by_label=excluded)


def check_spelling(cells: pd.Series, names: Sequence[str], where: str, kind: str) -> None:
    """Refuse cells that differ from a name only in case, blanks, hyphens or underscores; their rows would be lost unnoticed.

    Args:
        cells: (n,) text.
        names: What cells may say.
        where: The recipe's key, for the message.
        kind: What a name is, "class" or "value".

    Raises:
        UsageError: A cell differs from a name only in spelling.
    """
    plain = {_plain(name): name for name in names}
    for cell, count in Counter(cells.tolist()).most_common():
        meant = plain.get(_plain(cell))
        if meant is not None and cell not in names:
            raise UsageError(
                f"{where}: {count} rows say {cell!r}, which differs from the {kind} {meant!r} only in spelling; "
                "spell them alike in the manifest or in the recipe"
            )


def _plain(label: str) -> str:
    """Without case, blanks, underscores and hyphens, but for a minus sign or a hyphen between two digits."""
    return re.sub(r"\s|_|(?<!^)(?<!\d)-|(?<!^)-(?!\d)", "", INVISIBLE.sub("", label)).casefold()


def select_rows(data: Data, cache_dir: Path) -> tuple[Manifest, pd.Series, dict[str, int]]:
    """The manifest's rows that a recipe's `data` asks for; no image is read.

    Args:
        data: The recipe's section.
        cache_dir: Where phantoms are drawn.

    Returns:
        The rows, their (n,) labels, and how many rows are of no class, by label, the most first ('' is no label).

    Raises:
        UsageError: A class without images, or a label that is a class but for its spelling.
    """
    manifest = select_dataset(data, cache_dir)
    check_spelling(manifest.rows[data.label_column], data.classes, f"data.classes: {data.manifest}", "class")
    labels = _class_labels(manifest, data)
    of_a_class, kept = labels.isin(data.classes), filter_rows(manifest, data)
    chosen, excluded = of_a_class & kept, Counter(labels[~of_a_class & kept].tolist())
    for name in data.classes:
        if not (labels[chosen] == name).any():
            present = ", ".join(sorted(set(manifest.rows[data.label_column]) - {""})) or "none"
            filtered = f" where {dict(data.where)}" if data.where else ""
            raise UsageError(f"data.classes: no image is labeled {name!r}{filtered}; labels in the manifest: {present}")
    manifest, labels = manifest.select(chosen), labels[chosen].reset_index(drop=True)
    if data.max_per_class is not None:
        drawn = n_per_class_split(image_ids(manifest.rows), labels.tolist(), data.max_per_class, data.split.seed)
        manifest, labels = manifest.select(pd.Series(drawn)), labels[drawn].reset_index(drop=True)
    return manifest, labels, dict(excluded.most_common())


def _class_labels(manifest: Manifest, data: Data) -> pd.Series:
    """Each row's label; with the class `rest`, every label that is no other class becomes it."""
    labels = manifest.rows[data.label_column]
    if REST not in data.classes:
        return labels
    return labels.where(labels.isin(data.classes) | (labels == ""), REST)


def filter_rows(manifest: Manifest, data: Data) -> pd.Series:
    """Rows whose columns hold one of the values that `data.where` names.

    Args:
        manifest: n rows.
        data: The recipe's section.

    Returns:
        (n,) bool.

    Raises:
        UsageError: The manifest has no such column, or a cell differs from a value only in spelling.
    """
    chosen = pd.Series(True, index=manifest.rows.index)
    for column, values in data.where.items():
        if column not in manifest.rows:
            raise UsageError(f"data.where.{column}: the manifest has no such column{suggest_name(column, manifest.rows.columns)}")
        values = [normalize_value(column, value) for value in values]
        check_spelling(manifest.rows[column], values, f"data.where.{column}", "value")
        chosen &= manifest.rows[column].isin(values)
    return chosen


def load_segmentation_cohort(data: Data, cache_dir: Path) -> Cohort:
    """Rows that have a human (or exact phantom) lung mask, split by patient; labels are all 0.

    Args:
        data: The recipe's section.
        cache_dir: Where phantoms, and what is known of files, are kept.

    Returns:
        The cohort.

    Raises:
        UsageError: No row has a mask.
        DataError: Too many unusable files.
    """
    manifest = _with_masks(data, cache_dir)
    same = pd.Series(["lungs"] * len(manifest.rows))
    sides = assign_splits(manifest.rows, same, data.split)
    return build_cohort(manifest, data, np.zeros(len(same), np.int64), sides, ("lungs",), cache_dir)


def load_mask_evaluation_cohort(data: Data, cache_dir: Path) -> Cohort:
    """Every row that has a lung mask, all of them in the validation set, with label 0.

    Args:
        data: The recipe's section.
        cache_dir: Where phantoms, and what is known of files, are kept.

    Returns:
        The cohort.

    Raises:
        UsageError, DataError: As `load_segmentation_cohort` does.
    """
    manifest = _with_masks(data, cache_dir)
    count = len(manifest.rows)
    sides = np.ones(count, bool), np.zeros(count, bool)
    return build_cohort(manifest, data, np.zeros(count, np.int64), sides, (), cache_dir)


def _with_masks(data: Data, cache_dir: Path) -> Manifest:
    manifest = select_dataset(data, cache_dir)
    manifest = manifest.select(manifest.rows.lung_mask != "")
    if manifest.rows.empty:
        raise UsageError(f"data.manifest: {data.manifest}: no row has a lung_mask, so there are no true lungs to go by")
    return manifest


def select_dataset(data: Data, cache_dir: Path) -> Manifest:
    """The rows of the dataset that a recipe's `data` names; all rows where it names none.

    Args:
        data: The recipe's section.
        cache_dir: Where phantoms are drawn.

    Returns:
        The rows.

    Raises:
        UsageError: The manifest has no such dataset.
    """
    manifest = open_manifest(data, cache_dir)
    names = data.selected_datasets
    return manifest.of_datasets(names, "data.datasets" if data.datasets else "data.dataset") if names else manifest


def build_cohort(
    manifest: Manifest,
    data: Data,
    labels: np.ndarray,
    sides: tuple[np.ndarray, np.ndarray],
    classes: tuple[str, ...],
    cache_dir: Path,
) -> Cohort:
    """The manifest's usable images.

    Args:
        manifest: n rows.
        data: The recipe's section.
        labels: (n,) int64 classes.
        sides: (n,) bool of the validation set, and of the test set.
        classes: Those of which every set needs some.
        cache_dir: Where what is known of files is kept.

    Returns:
        The cohort.

    Raises:
        UsageError: A set has no image of a class.
        DataError: More than `data.max_bad` unusable files.
    """
    valid, test = sides
    check_all_classes_present(labels, valid, test, classes, data.split)
    intakes = validate_files(manifest, cache_dir)
    good = np.array([intake.fault is None for intake in intakes])
    bad = tuple(
        ExcludedImage(path, intake.fault) for path, intake in zip(manifest.rows.path, intakes, strict=True) if intake.fault
    )
    _check_excluded_fraction(bad, len(intakes), data, manifest)
    used: list[FileCheck] = [intake for intake in intakes if intake.fault is None]
    check_all_classes_present(labels[good], valid[good], test[good], classes, data.split)
    return Cohort(
        rows=manifest.rows[good].reset_index(drop=True),
        classes=classes,
        labels=labels[good],
        valid=valid[good],
        test=test[good],
        files=tuple(intake.file for intake in used if intake.file is not None),
        sha256=tuple(intake.sha256 for intake in used),
        sizes=np.array([(intake.width, intake.height) for intake in used], int).reshape(-1, 2),
        bad=bad,
        manifest=manifest,
    )


def _check_excluded_fraction(bad: tuple[ExcludedImage, ...], total: int, data: Data, manifest: Manifest) -> None:
    if len(bad) <= data.max_bad * total and len(bad) < total:
        return
    first = bad[0]
    missing = sum(item.reason == "missing" for item in bad)
    renamed = manifest.in_other_case(first.path) if first.reason == "missing" else None
    if renamed:
        fix = f"{renamed.as_posix()} is there: capitals must be the same in the manifest"
    elif first.reason == "missing":
        source = f" --dataset {data.selected_datasets[0]}" if len(data.selected_datasets) == 1 else ""
        fix = f"fetch them with `darkcovid data fetch {data.manifest}{source}`, or name their folder with --data-root"
    else:
        fix = "fix or remove those rows, or raise data.max_bad"
    raise DataError(
        f"{data.manifest}: {len(bad)} of {total} images cannot be used ({missing} missing), "
        f"the first is {first.path} ({first.reason}); {fix}"
    )
