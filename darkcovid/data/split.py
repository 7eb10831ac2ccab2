"""Which patients are on which side? The same answer from the same seed on any machine and library version.

Order comes from SHA-256 of the seed and the name, not from a random generator whose stream may change.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np


def hash_shuffle(names: Sequence[str], seed: int) -> list[str]:
    """The distinct `names` in a pseudo-random order that depends on `seed` and the names alone."""
    return sorted(set(names), key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())


def random_split(names: Sequence[str], valid: float, seed: int) -> np.ndarray:
    """Plain random split of images, as most papers do it: (n,) bool, true on the validation side.

    names: (n,) distinct names, such as the images' paths.
    """
    chosen = set(hash_shuffle(names, seed)[: round_half_up(valid * len(names))])
    return np.array([name in chosen for name in names], bool)


def stratified_random_split(names: Sequence[str], labels: Sequence[str], valid: float, seed: int) -> np.ndarray:
    """`random_split` within each class, so that both sides have the class shares of the whole: (n,) bool."""
    side = np.zeros(len(names), bool)
    for label in set(labels):
        rows = [row for row, other in enumerate(labels) if other == label]
        side[rows] = random_split([names[row] for row in rows], valid, seed)
    return side


def round_half_up(number: float) -> int:
    """Rounded to the nearest whole number, halves upwards, as most splits are cut (130 images at 3:1 give 33 and 97)."""
    return int(number + 0.5)


def per_class_targets(labels: Sequence[str], share: float) -> dict[str, float]:
    """How many images of each class are `share` of it."""
    return {label: share * count for label, count in Counter(labels).items()}


def stratified_group_split(labels: Sequence[str], groups: Sequence[str], wanted: dict[str, float], seed: int) -> np.ndarray:
    """Split whole patients so that about `wanted` images of each class are on the validation side: (n,) bool, true there.

    labels, groups: (n,) class and patient of each image. Patients are visited in hash order; one goes to the
    validation side when that brings the classes' counts there nearer to what is wanted.
    """
    members = _classes_by_group(labels, groups)
    missing = dict(wanted)

    def distance(counts: Counter, taken: int) -> float:
        return sum(((missing[label] - taken * counts[label]) / wanted[label]) ** 2 for label in counts)

    chosen = set()
    for group in hash_shuffle(groups, seed):
        counts = members[group]
        if distance(counts, 1) < distance(counts, 0):
            chosen.add(group)
            for label, count in counts.items():
                missing[label] -= count
    return np.array([group in chosen for group in groups], bool)


def n_per_class_split(names: Sequence[str], labels: Sequence[str], count: int, seed: int) -> np.ndarray:
    """`count` images of each class, drawn by their names: (n,) bool, true for them."""
    side = np.zeros(len(names), bool)
    for label in set(labels):
        rows = {name: row for row, (name, other) in enumerate(zip(names, labels, strict=True)) if other == label}
        side[[rows[name] for name in hash_shuffle(list(rows), seed)[:count]]] = True
    return side


def random_folds(names: Sequence[str], labels: Sequence[str], folds: int, seed: int) -> np.ndarray:
    """Deal images to `folds` folds by their names, class after class: (n,) int in 0..folds-1. With one label for all it is
    a plain random cross-validation."""
    label_of = dict(zip(names, labels, strict=True))
    order = sorted(hash_shuffle(names, seed), key=lambda name: label_of[name])
    chosen = {name: place % folds for place, name in enumerate(order)}
    return np.array([chosen[name] for name in names])


def stratified_group_folds(labels: Sequence[str], groups: Sequence[str], folds: int, seed: int) -> np.ndarray:
    """Deal whole patients to `folds` folds so that each has about its share of every class: (n,) int in 0..folds-1.

    labels, groups: (n,) class and patient of each image. Patients are visited in hash order; one goes to the fold
    that holds least of the patient's classes.
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
    """`rows`, or `most` of them, evenly spread over their order."""
    if len(rows) <= most:
        return rows
    return rows[np.linspace(0, len(rows) - 1, most).round().astype(int)]
