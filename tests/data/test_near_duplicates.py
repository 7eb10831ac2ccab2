"""Near copies are found whatever was done to them, other images are not, and nothing else decides."""

import resource

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from darkcovid.data.manifest import read_manifest
from darkcovid.data.near_duplicates import candidates, image_features, registration, transforms
from darkcovid.data.near_duplicates import search as duplicates
from darkcovid.data.near_duplicates.candidates import Descriptors
from darkcovid.data.near_duplicates.search import (
    ALTERATIONS,
    SIZE,
    cached_copies_elsewhere,
    cached_near_duplicates,
    describe_alterations,
    find_near_duplicates,
    find_near_duplicates_between,
    pairs_between,
)
from darkcovid.data.phantom import phantom_manifest
from darkcovid.data.resize import cached_whole_images, resize_whole
from darkcovid.recipe import Phantom

from .alterations import COPIES, STRANGERS, TOGETHER

COPIED = 8


def phantom_images(cache_dir, **settings):
    manifest = phantom_manifest(Phantom(**settings), cache_dir)
    return [Image.open(manifest.locate(path)).convert("L") for path in manifest.rows.path]


def squashed(images):
    return np.stack([resize_whole(image, SIZE) for image in images])


@pytest.fixture
def drawn(cache_dir):
    return phantom_images(cache_dir, patients=12, image_size=192)


def test_every_alteration_has_copies_here():
    assert tuple(COPIES) == ALTERATIONS
    assert all(name in describe_alterations() for name in ALTERATIONS)


@pytest.mark.parametrize("name", ALTERATIONS)
def test_copies_of_each_alteration_are_found_and_other_images_are_not(name, drawn):
    ways = list(COPIES[name].values())
    copies = [alter(image) for alter in ways for image in drawn[:COPIED]]
    pairs = pairs_between(Descriptors.of(squashed(copies)), Descriptors.of(squashed(drawn)))
    assert pairs == [(row, row % COPIED) for row in range(len(copies))]


@pytest.mark.parametrize("name", TOGETHER)
def test_copies_of_two_alterations_are_found(name, drawn):
    copies = squashed([TOGETHER[name](image) for image in drawn])
    pairs = pairs_between(Descriptors.of(copies), Descriptors.of(squashed(drawn)))
    assert pairs == [(row, row) for row in range(len(drawn))]


@pytest.mark.slow
def test_phantoms_are_never_near_copies_of_one_another(cache_dir):
    for settings in ({"image_size": 64, "signal": 1.0}, {"image_size": 128, "signal": 0.0, "seed": 8}):
        images = phantom_images(cache_dir, patients=70, **settings)
        assert len(images) > 100
        assert find_near_duplicates(squashed(images)) == []


def test_the_order_of_rows_and_the_size_of_pieces_do_not_matter(drawn, monkeypatch):
    altered = [alter(image) for ways in COPIES.values() for alter, image in zip(ways.values(), drawn, strict=False)]
    pixels = squashed([*drawn, *altered])
    pairs = find_near_duplicates(pixels)
    assert len(pairs) > len(altered)
    assert pairs == sorted(pairs)
    assert all(first < later for first, later in pairs)
    order = np.random.RandomState(3).permutation(len(pixels))
    monkeypatch.setattr("darkcovid.core.array_cache.SHARD_ROWS", 7)
    monkeypatch.setattr(candidates, "AT_ONCE", 3)
    monkeypatch.setattr(candidates, "CHUNK", 4)
    shuffled = [tuple(sorted((order[a], order[b]))) for a, b in find_near_duplicates(pixels[order])]
    assert sorted(shuffled) == pairs


def test_images_that_show_nothing_are_no_copies():
    flat = np.repeat(np.array([0, 0, 128, 255], np.uint8), SIZE[0] * SIZE[1]).reshape(-1, *SIZE)
    ramp = np.broadcast_to(np.arange(SIZE[1], dtype=np.uint8), (1, *SIZE))
    assert find_near_duplicates(np.concatenate([flat, ramp])) == []


PADDED = [name for name in STRANGERS if name.endswith(("margins", "right"))]


@pytest.mark.parametrize("name", STRANGERS)
def test_what_two_patients_images_have_in_common_makes_them_no_copies(name, drawn):
    assert find_near_duplicates(squashed([STRANGERS[name](image) for image in drawn])) == []


@pytest.mark.parametrize("name", PADDED)
def test_widely_padded_copies_are_found(name, drawn):
    copies = Descriptors.of(squashed([STRANGERS[name](image) for image in drawn]))
    assert pairs_between(copies, Descriptors.of(squashed(drawn))) == [(row, row) for row in range(len(drawn))]
    inverted = Descriptors.of(squashed([STRANGERS[name](ImageOps.invert(image)) for image in drawn]))
    assert pairs_between(copies, inverted) == [(row, row) for row in range(len(drawn))]


@pytest.mark.slow
def test_many_near_identical_images_take_little_memory(drawn):
    noise = np.random.default_rng(0).integers(-2, 3, (150, *SIZE))
    pixels = np.clip(squashed(drawn[:1]) + noise, 0, 255).astype(np.uint8)
    find_near_duplicates(pixels[:20])
    before = resident()
    assert len(find_near_duplicates(pixels)) == 150 * 149 // 2
    assert resident() - before < 300e6


def resident():
    """The most memory that this process has held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_identical_files_are_searched_once_and_each_is_in_its_pairs(tmp_path, drawn):
    asked = []

    def search(pixels, rows):
        asked.append(list(rows))
        return find_near_duplicates(pixels, rows)

    images = [drawn[0], drawn[1], drawn[0], ImageOps.mirror(drawn[0]), drawn[2]]
    for number, image in enumerate(images):
        image.save(tmp_path / f"{number}.png")
    files, sha256 = [tmp_path / f"{number}.png" for number in range(5)], ["a", "b", "a", "c", "d"]
    for _ in range(2):
        assert cached_near_duplicates(files, sha256, tmp_path, search) == [(0, 3), (2, 3)]
    assert asked == [[0, 1, 3, 4]]


def test_copies_elsewhere_are_looked_for_across_the_two_sets_alone_and_once(tmp_path, drawn, monkeypatch):
    searched = []

    def search(*asked):
        searched.append(asked[2:])
        return find_near_duplicates_between(*asked)

    monkeypatch.setattr(duplicates, "find_near_duplicates_between", search)
    images = [drawn[0], ImageOps.mirror(drawn[0]), drawn[1], drawn[2], drawn[1], ImageOps.invert(drawn[0]), drawn[3]]
    for number, image in enumerate(images):
        image.save(tmp_path / f"{number}.png")
    files, sha256 = [tmp_path / f"{number}.png" for number in range(7)], ["a", "b", "c", "d", "c", "e", "f"]
    halves = slice(4), slice(4, None)
    for _ in range(2):
        both = [files[half] for half in halves], [sha256[half] for half in halves]
        assert cached_copies_elsewhere(*both, tmp_path) == [(0, 1), (1, 1), (2, 0)]
    assert searched == [([0, 1, 2, 3], [1, 2])]


NUMBERS = [
    (module, name) for module in (image_features, transforms, candidates, registration) for name in vars(module) if name.isupper()
]
HARMLESS = {"MATRICES", "INVERSES", "CHUNK", "AT_ONCE"}  # made of others, or without effect


@pytest.mark.parametrize(("module", "name"), [pair for pair in NUMBERS if pair[1] not in HARMLESS] + [(duplicates, "VERSION")])
def test_another_rule_is_another_finding(module, name, tmp_path, monkeypatch):
    asked = []

    def search(pixels, rows):
        asked.append(len(rows))
        return [(0, 1)]

    for number in range(2):
        Image.new("L", (20, 20), number).save(tmp_path / f"{number}.png")
    files, sha256 = [tmp_path / "0.png", tmp_path / "1.png"], ["a", "b"]
    for _ in range(2):
        assert cached_near_duplicates(files, sha256, tmp_path, search) == [(0, 1)]
    assert asked == [2]
    value = getattr(module, name)
    monkeypatch.setattr(module, name, value[1:] if isinstance(value, tuple) else value + 1)
    cached_near_duplicates(files, sha256, tmp_path, search)
    assert asked == [2, 2]


def test_it_does_not_matter_which_of_two_images_comes_first(drawn, monkeypatch):
    descriptors = Descriptors.of(squashed(drawn))
    images = np.unique(descriptors.rows, return_index=True)[1]
    a, b = images[0:18:2], images[1:18:2]
    assert not same_pairs(descriptors, a, b).any()
    monkeypatch.setattr(registration, "ROUGHLY", 0.0)
    answers = []
    for least in np.arange(0.1, 0.6, 0.1):
        monkeypatch.setattr(registration, "CORRELATION", least)
        answers.append(same_pairs(descriptors, a, b))
        np.testing.assert_array_equal(same_pairs(descriptors, b, a), answers[-1])
    assert 0 < np.mean(answers) < 1


def same_pairs(descriptors, a, b):
    still = np.repeat(np.eye(2, 3, dtype=np.float32)[None], len(a), axis=0)
    return registration.same_image(descriptors.take(a), descriptors.take(b), still)


def test_registration_gives_back_a_transform(drawn):
    shown = squashed(drawn[:1])
    turned = squashed([drawn[0].rotate(4, Image.Resampling.BILINEAR)])
    edges = [torch.from_numpy(Descriptors.of(pixels).thumbnails[:1])[:, None] for pixels in (shown, turned)]
    transform = registration.registered(*edges, torch.eye(2, 3)[None], steps=12)
    angle = np.rad2deg(np.arctan2(transform[0, 0, 1], transform[0, 0, 0]))
    assert abs(abs(float(angle)) - 4) < 0.3
    assert registration.correlations(*edges, transform) > 0.98 > 0.9 > registration.correlations(*edges, torch.eye(2, 3)[None])


@pytest.mark.slow
@pytest.mark.real_data
def test_altered_radiographs_are_found_among_others(real_data, cache_dir):
    manifest = read_manifest(real_data / "ozturk512" / "manifest.csv")
    rows = manifest.rows.iloc[::3]
    files = [manifest.locate(path) for path in rows.path]
    pixels = cached_whole_images(files, rows.sha256.tolist(), SIZE, cache_dir).array
    patients, radiographs = rows.patient_id.tolist(), Descriptors.of(pixels)
    assert [(a, b) for a, b in find_near_duplicates(pixels) if patients[a] != patients[b]] == []
    chosen = range(0, len(files), 15)
    images = [Image.open(files[row]).convert("L") for row in chosen]
    for name, ways in COPIES.items():
        copies = squashed([alter(image) for alter in ways.values() for image in images])
        originals = list(chosen) * len(ways)
        pairs = pairs_between(Descriptors.of(copies), radiographs)
        strangers = [(copy, row) for copy, row in pairs if patients[row] != patients[originals[copy]]]
        found = sum(originals[copy] == row for copy, row in pairs)
        assert found >= 0.95 * len(copies), name
        assert strangers == [], name
