from collections import Counter

import numpy as np
import pytest

from darkcovid.data.splits import (
    evenly_spaced,
    hash_shuffle,
    n_per_class_split,
    per_class_targets,
    random_folds,
    random_split,
    stratified_group_folds,
    stratified_group_split,
    stratified_random_split,
)

NAMES = [f"image-{index}" for index in range(500)]
LABELS = ["covid"] * 60 + ["no_finding"] * 200 + ["pneumonia"] * 240
GROUPS = [f"patient-{index // 3}" for index in range(500)]


def test_the_order_is_the_same_on_any_machine():
    import hashlib

    digests = {name: hashlib.sha256(f"41:{name}".encode()).hexdigest() for name in "abcde"}
    assert hash_shuffle("abcde", 41) == sorted("abcde", key=digests.get)
    assert hash_shuffle("edcba", 41) == hash_shuffle("abcde", 41)


@pytest.mark.parametrize("seed", range(20))
def test_a_group_split_never_parts_a_patient_and_keeps_class_shares(seed):
    side = stratified_group_split(LABELS, GROUPS, per_class_targets(LABELS, 0.2), seed)
    train = {group for group, valid in zip(GROUPS, side, strict=True) if not valid}
    assert train.isdisjoint(group for group, valid in zip(GROUPS, side, strict=True) if valid)
    counts = Counter(label for label, valid in zip(LABELS, side, strict=True) if valid)
    for label, total in Counter(LABELS).items():
        assert abs(counts[label] - 0.2 * total) <= 3


def test_patients_with_images_in_two_classes_stay_together():
    labels = ["a", "b"] * 50
    groups = [f"p{index // 2}" for index in range(100)]
    side = stratified_group_split(labels, groups, per_class_targets(labels, 0.2), 0)
    assert all(side[index] == side[index + 1] for index in range(0, 100, 2))
    assert side.sum() == 20


def test_the_seed_decides_and_row_order_does_not():
    side = stratified_group_split(LABELS, GROUPS, per_class_targets(LABELS, 0.2), 1)
    assert (side == stratified_group_split(LABELS, GROUPS, per_class_targets(LABELS, 0.2), 1)).all()
    assert (side != stratified_group_split(LABELS, GROUPS, per_class_targets(LABELS, 0.2), 2)).any()
    backwards = stratified_group_split(LABELS[::-1], GROUPS[::-1], per_class_targets(LABELS, 0.2), 1)
    assert (side == backwards[::-1]).all()


def test_a_random_split_takes_the_exact_share_and_a_stratified_one_of_each_class():
    assert random_split(NAMES, 0.2, 3).sum() == 100
    side = stratified_random_split(NAMES, LABELS, 0.2, 3)
    assert Counter(np.array(LABELS)[side]) == {"covid": 12, "no_finding": 40, "pneumonia": 48}


def test_the_published_split_sizes_of_the_ozturk_cohort():
    names = [str(index) for index in range(1125)]
    assert Counter(random_split(names, 0.2, 41).tolist()) == {False: 900, True: 225}


def test_one_big_patient_cannot_fill_the_validation_side():
    groups = ["big"] * 90 + [f"p{index}" for index in range(60)]
    side = stratified_group_split(["a"] * 150, groups, {"a": 30.0}, 0)
    assert 25 <= side.sum() <= 35


def test_folds_deal_each_patient_once_and_every_class_evenly():
    labels = ["covid"] * 60 + ["no_finding"] * 90
    groups = [f"p{index // 3}" for index in range(150)]
    folds = stratified_group_folds(labels, groups, 5, seed=41)
    assert set(folds) == set(range(5))
    for group in set(groups):
        assert len({fold for fold, other in zip(folds, groups, strict=True) if other == group}) == 1
    for fold in range(5):
        counts = Counter(label for label, other in zip(labels, folds, strict=True) if other == fold)
        assert counts == {"covid": 12, "no_finding": 18}
    np.testing.assert_array_equal(folds, stratified_group_folds(labels, groups, 5, seed=41))
    assert not np.array_equal(folds, stratified_group_folds(labels, groups, 5, seed=42))


def test_a_few_are_spread_over_all():
    assert evenly_spaced(np.arange(5), 9).tolist() == [0, 1, 2, 3, 4]
    assert evenly_spaced(np.arange(10, 21), 3).tolist() == [10, 15, 20]


@pytest.mark.parametrize(
    "draw",
    [
        lambda names, labels, seed: random_split(names, 0.2, seed),
        lambda names, labels, seed: stratified_random_split(names, labels, 0.2, seed),
        lambda names, labels, seed: n_per_class_split(names, labels, 12, seed),
        lambda names, labels, seed: random_folds(names, labels, 5, seed),
    ],
    ids=["random", "stratified", "counted", "folds"],
)
def test_what_is_drawn_depends_on_the_seed_and_on_names_and_on_nothing_else(draw):
    first = draw(NAMES, LABELS, 1)
    assert first.dtype in (bool, int)
    np.testing.assert_array_equal(draw(NAMES, LABELS, 1), first)
    assert (draw(NAMES, LABELS, 2) != first).any()
    order = np.random.default_rng(0).permutation(500)
    shuffled = draw([NAMES[row] for row in order], [LABELS[row] for row in order], 1)
    np.testing.assert_array_equal(shuffled, first[order])


def test_counted_images_are_so_many_of_each_class():
    side = n_per_class_split(NAMES, LABELS, 12, 3)
    assert Counter(np.array(LABELS)[side]) == {"covid": 12, "no_finding": 12, "pneumonia": 12}


def test_a_class_that_has_no_limit_is_taken_whole():
    side = n_per_class_split(NAMES, LABELS, {"covid": 7, "pneumonia": 10_000}, 3)
    every = Counter(LABELS)
    assert Counter(np.array(LABELS)[side]) == {**every, "covid": 7}


@pytest.mark.parametrize("draw", [n_per_class_split, random_folds])
def test_names_and_labels_must_be_as_many(draw):
    with pytest.raises(ValueError, match="zip"):
        draw(NAMES, LABELS[:-1], 2, 1)
