"""Which patients are in which set? The same answer from the same seed on any machine and library version.

Order comes from SHA-256 of the seed and the name, not from a random generator whose stream may change.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from darkcovid.core.errors import UsageError
from darkcovid.recipe import MAX_FOLDS, Split
from darkcovid.recipe.errors import suggest_name

TEST_SEED = 1_000_003
MIN_IN_STRATUM = 5  # images of a class and source in the validation set, below which only the class counts
UNKNOWN = "unknown:"  # before an image's path, the name of a patient of whom nothing else is known
COPIES = "copies:"  # likewise, of the patient of several images that are copies of one another


def hash_shuffle(names: Sequence[str], seed: int) -> list[str]:
    """Names in a pseudo-random order that depends on them and the seed alone.

    Args:
        names: Repeated ones count once.
        seed: Of the order.

    Returns:
        The distinct names.
    """
    return sorted(set(names), key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())


def random_split(names: Sequence[str], valid: float, seed: int) -> np.ndarray:
    """Plain random split of images, as most papers do it.

    Args:
        names: (n) distinct names, such as the images' paths.
        valid: Share of the validation set.
        seed: Of the split.

    Returns:
        (n,) bool, true on the validation set.
    """
    chosen = set(hash_shuffle(names, seed)[: round_half_up(valid * len(names))])
    return np.array([name in chosen for name in names], bool)


def stratified_random_split(names: Sequence[str], labels: Sequence[str], valid: float, seed: int) -> np.ndarray:
    """`random_split` within each class, so that both sets have the class shares of the whole.

    Args:
        names: (n) distinct names.
        labels: (n) classes.
        valid: Share of the validation set.
        seed: Of the split.

    Returns:
        (n,) bool, true on the validation set.
    """
    side = np.zeros(len(names), bool)
    for label in set(labels):
        rows = [row for row, other in enumerate(labels) if other == label]
        side[rows] = random_split([names[row] for row in rows], valid, seed)
    return side


def round_half_up(number: float) -> int:
    """Rounded to the nearest whole number, halves upwards, as most splits are cut (130 images at 3:1 give 33 and 97)."""
    return int(number + 0.5)


def per_class_targets(labels: Sequence[str], share: float) -> dict[str, float]:
    """How many images of each class are a share of it.

    Args:
        labels: (n) classes.
        share: In 0..1.

    Returns:
        Images by class; not rounded.
    """
    return {label: share * count for label, count in Counter(labels).items()}


def stratified_group_split(labels: Sequence[str], groups: Sequence[str], targets: dict[str, float], seed: int) -> np.ndarray:
    """Split whole patients so that the validation set has about the wished number of images of each class.

    Patients are visited in hash order; one goes to the validation set when that brings the classes' counts there nearer to the
    targets.

    Args:
        labels: (n) class of each image.
        groups: (n) patient of each image.
        targets: Images of each class in the validation set.
        seed: Of the split.

    Returns:
        (n,) bool, true on the validation set.
    """
    members = _classes_by_group(labels, groups)
    missing = dict(targets)

    def distance(counts: Counter, taken: int) -> float:
        return sum(((missing[label] - taken * counts[label]) / targets[label]) ** 2 for label in counts)

    chosen = set()
    for group in hash_shuffle(groups, seed):
        counts = members[group]
        if distance(counts, 1) < distance(counts, 0):
            chosen.add(group)
            for label, count in counts.items():
                missing[label] -= count
    return np.array([group in chosen for group in groups], bool)


def n_per_class_split(names: Sequence[str], labels: Sequence[str], count: int | Mapping[str, int], seed: int) -> np.ndarray:
    """Some images of each class, drawn by their names.

    Args:
        names: (n) distinct names.
        labels: (n) classes.
        count: Images of each class; of those that a mapping does not name, all.
        seed: Of the draw.

    Returns:
        (n,) bool, true for those drawn.
    """
    side = np.zeros(len(names), bool)
    for label in set(labels):
        rows = {name: row for row, (name, other) in enumerate(zip(names, labels, strict=True)) if other == label}
        drawn = hash_shuffle(list(rows), seed)[: count if isinstance(count, int) else count.get(label)]
        side[[rows[name] for name in drawn]] = True
    return side


def random_folds(names: Sequence[str], labels: Sequence[str], folds: int, seed: int) -> np.ndarray:
    """Deal images to folds by their names, class after class; with one label for all it is a plain random cross-validation.

    Args:
        names: (n) distinct names.
        labels: (n) classes.
        folds: How many.
        seed: Of the order.

    Returns:
        (n,) int in 0..folds-1.
    """
    label_of = dict(zip(names, labels, strict=True))
    order = sorted(hash_shuffle(names, seed), key=lambda name: label_of[name])
    chosen = {name: place % folds for place, name in enumerate(order)}
    return np.array([chosen[name] for name in names])


def stratified_group_folds(labels: Sequence[str], groups: Sequence[str], folds: int, seed: int) -> np.ndarray:
    """Deal whole patients to folds so that each has about its share of every class.

    Patients are visited in hash order; one goes to the fold that holds least of the patient's classes.

    Args:
        labels: (n) class of each image.
        groups: (n) patient of each image.
        folds: How many.
        seed: Of the order.

    Returns:
        (n,) int in 0..folds-1.
    """
    members = _classes_by_group(labels, groups)
    held = [Counter() for _ in range(folds)]
    chosen = {}
    for group in hash_shuffle(groups, seed):
        chosen[group] = min(range(folds), key=lambda fold: (sum(held[fold][label] for label in members[group]), fold))
        held[chosen[group]].update(members[group])
    return np.array([chosen[group] for group in groups])


def _classes_by_group(labels: Sequence[str], groups: Sequence[str]) -> dict[str, Counter]:
    """How many images of each class each patient has."""
    members = defaultdict(Counter)
    for label, group in zip(labels, groups, strict=True):
        members[group][label] += 1
    return members


def evenly_spaced(rows: np.ndarray, most: int) -> np.ndarray:
    """At most some rows, evenly spread over their order.

    Args:
        rows: (n,) int.
        most: How many.

    Returns:
        (min(n, most),) int.
    """
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).round().astype(int)]


def patient_groups(rows: pd.DataFrame) -> pd.Series:
    """(n,) patient of each row; a row without a known patient is its own group."""
    return rows.patient_id.where(rows.patient_id != "", UNKNOWN + rows.path)


def assign_splits(rows: pd.DataFrame, labels: pd.Series, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """The validation and the test set of a recipe's split.

    Args:
        rows: (n) rows of a manifest.
        labels: (n,) classes.
        split: The recipe's section.

    Returns:
        (n,) bool of the validation set, and of the test set.

    Raises:
        UsageError: `by_column` names no column of the manifest, or one with other values than train, valid and test.
    """
    if split.method == "by_column":
        return _splits_of_column(rows, split.column or "split")
    if split.method == "leave_source_out":
        return _split_of_source(rows, labels, split)
    test = _test_mask(rows, labels, split)
    valid = np.zeros(len(rows), bool)
    valid[~test] = _validation_mask(rows[~test], labels[~test], split)
    return valid, test


def source_name(split: Split) -> str:
    """The manifest's column of the source. Recipes of earlier versions all say `column: split`, which never is one."""
    return "dataset" if split.method == "by_column" or split.column in (None, "split") else split.column


def source_column(rows: pd.DataFrame, split: Split) -> pd.Series:
    """The source of each image, by which `leave_source_out` splits.

    Args:
        rows: (n) rows of a manifest.
        split: The recipe's section.

    Returns:
        (n,) text.

    Raises:
        UsageError: The manifest has no such column, or a row has no source.
    """
    name = source_name(split)
    if name not in rows:
        raise UsageError(f"data.split.column: the manifest has no column {name!r}{suggest_name(name, rows.columns)}")
    empty = rows.path[rows[name] == ""]
    if len(empty):
        raise UsageError(f"data.split.column: {len(empty)} rows have no {name}, the first is {empty.iloc[0]}; name their source")
    return rows[name]


def source_codes(rows: pd.DataFrame, split: Split) -> np.ndarray:
    """The source of each image, by number.

    Args:
        rows: (n) rows of a manifest.
        split: The recipe's section.

    Returns:
        (n,) int from 0 without gaps.

    Raises:
        UsageError: As `source_column` does.
    """
    return np.unique(source_column(rows, split), return_inverse=True)[1]


def sources_to_hold_out(sources: pd.Series, labels: pd.Series) -> list[str]:
    """Sources without which every class still has images in another one, sorted: each can be held out.

    Args:
        sources: (n,) of the images.
        labels: (n,) classes.

    Returns:
        Names.
    """
    table = pd.crosstab(sources, labels)
    others = table.sum() - table
    return sorted(str(name) for name in table.index[(others > 0).all(axis=1)])


def of_patients_elsewhere(rows: pd.DataFrame, test: np.ndarray) -> np.ndarray:
    """Which images outside the test set are of its patients, as copies in two collections are: nothing may be learned of them.

    Args:
        rows: (n) rows of a manifest.
        test: (n,) bool.

    Returns:
        (n,) bool.
    """
    patients = patient_groups(rows)
    return ~test & patients.isin(set(patients[test])).to_numpy()


def _strata(labels: pd.Series, sources: pd.Series, share: float) -> list[str]:
    """(n) class and source of each image; of a source with too few images of a class to take a share of, the class alone."""
    both = labels + "/" + sources
    return both.where(both.map(both.value_counts()) * share >= MIN_IN_STRATUM, labels).tolist()


def _split_of_source(rows: pd.DataFrame, labels: pd.Series, split: Split) -> tuple[np.ndarray, np.ndarray]:
    column, sources = source_name(split), source_column(rows, split)
    possible = sources_to_hold_out(sources, labels)
    counted = f"{len(possible)} of the {sources.nunique()} sources in column {column} can be held out"
    if sources.nunique() == 1:
        raise UsageError(
            f"data.split: all images are of one source in column {column}, {sources.iloc[0]}; leave_source_out needs two: merge "
            "cohorts (darkcovid data merge) and set data.dataset to null, or name another data.split.column"
        )
    if not possible:
        raise UsageError(
            f"data.split: no source in column {column} can be held out, since each is the only one with some class; merge "
            "cohorts that share classes (darkcovid data merge)"
        )
    if split.folds is not None and split.folds != len(possible):
        advice = f"set training.folds to {len(possible)}"
        if len(possible) == 1:
            advice = f"use data.split.held_out={possible[0]} without training.folds"
        elif len(possible) > MAX_FOLDS:
            advice = f"group them in a column of at most {MAX_FOLDS} sources"
        raise UsageError(f"training.folds: {counted} ({', '.join(possible)}); {advice}")
    held_out = split.held_out if split.folds is None else possible[split.fold - 1]
    if held_out not in possible:
        known = sources.eq(held_out).any()
        why = (
            "no other source has all of its classes"
            if known
            else f"there is no such source{suggest_name(str(held_out), possible)}"
        )
        raise UsageError(f"data.split.held_out: {held_out}: {why}; {counted}: {', '.join(possible)}")
    test = (sources == held_out).to_numpy()
    rest = ~test & ~of_patients_elsewhere(rows, test)
    valid = np.zeros(len(rows), bool)
    strata = _strata(labels[rest], sources[rest], split.valid)
    targets = per_class_targets(strata, split.valid)
    valid[rest] = stratified_group_split(strata, patient_groups(rows)[rest].tolist(), targets, split.seed)
    return valid, test


def _validation_mask(rows: pd.DataFrame, labels: pd.Series, split: Split) -> np.ndarray:
    patients, names = patient_groups(rows).tolist(), image_ids(rows)
    strata = labels.tolist() if split.method != "random" else ["all"] * len(rows)
    if split.folds is not None:
        grouped = split.method == "stratified_group"
        folds = (stratified_group_folds if grouped else random_folds)(
            *((strata, patients) if grouped else (names, strata)), split.folds, split.seed
        )
        return folds == split.fold - 1
    if split.method == "stratified_group":
        return stratified_group_split(strata, patients, per_class_targets(strata, split.valid), split.seed)
    return stratified_random_split(names, strata, split.valid, split.seed)


def _test_mask(rows: pd.DataFrame, labels: pd.Series, split: Split) -> np.ndarray:
    """Drawn with a seed of its own, so that it does not follow the validation set's order."""
    if split.test is None:
        return np.zeros(len(rows), bool)
    strata, seed = labels.tolist(), split.seed + TEST_SEED
    count = split.test if isinstance(split.test, int) else None
    if split.method == "stratified_group":
        targets = dict.fromkeys(strata, float(count)) if count is not None else per_class_targets(strata, split.test)
        return stratified_group_split(strata, patient_groups(rows).tolist(), targets, seed)
    if count is not None:
        return n_per_class_split(image_ids(rows), strata, count, seed)
    return stratified_random_split(image_ids(rows), strata, split.test, seed)


def _splits_of_column(rows: pd.DataFrame, column: str) -> tuple[np.ndarray, np.ndarray]:
    if column not in rows:
        raise UsageError(f"data.split.column: the manifest has no column {column!r}{suggest_name(column, rows.columns)}")
    unknown = sorted(set(rows[column]) - {"train", "valid", "test"})
    if unknown:
        raise UsageError(f"data.split.column: {column} holds {unknown[0]!r}; use train, valid and test")
    return (rows[column] == "valid").to_numpy(), (rows[column] == "test").to_numpy()


def image_ids(rows: pd.DataFrame) -> list[str]:
    """(n) name of each image, the same on every machine."""
    return (rows.dataset + "/" + rows.path).tolist()


def check_all_classes_present(
    labels: np.ndarray, valid: np.ndarray, test: np.ndarray, classes: tuple[str, ...], split: Split
) -> None:
    """Refuse a split that leaves a class without images in a set that needs some.

    Args:
        labels: (n,) int, index into `classes`.
        valid: (n,) bool.
        test: (n,) bool.
        classes: Their names.
        split: The recipe's section.

    Raises:
        UsageError: A class has no image in a set.
    """
    sides = {"training": ~(valid | test), "validation": valid} | ({"test": test} if split.test is not None else {})
    for index, name in enumerate(classes):
        for side, where in sides.items():
            if not (labels[where] == index).any():
                raise UsageError(
                    f"data.split: {_describe_split(split)} leaves no image of {name!r} in the {side} set; "
                    "use another share, seed or number of folds, or more images"
                )


def _describe_split(split: Split) -> str:
    if split.method == "by_column":
        return f"the column {split.column or 'split'}"
    if split.method == "leave_source_out":
        return f"leave_source_out with valid={split.valid} and seed={split.seed}"
    how = f"fold {split.fold} of {split.folds}" if split.folds else f"valid={split.valid}"
    return f"{split.method} with {how} and seed={split.seed}"
