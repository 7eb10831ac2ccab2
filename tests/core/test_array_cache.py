import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest

from darkcovid.core.array_cache import cached_array, cached_json, cached_sharded_array, content_key, drop_pages, is_corrupt


@pytest.fixture
def make(tmp_path):
    calls = []

    def make(key="k", fail=False):
        def fill(array):
            calls.append(key)
            array[:] = np.arange(array.size).reshape(array.shape)
            if fail:
                raise RuntimeError("disk on fire")
            return {"note": key}

        return cached_array(tmp_path, key, (5, 4, 3), fill)

    make.calls, make.folder = calls, tmp_path
    return make


def test_an_array_is_made_once_and_read_only(make):
    first, second = make(), make()
    assert make.calls == ["k"]
    assert (first.fresh, second.fresh) == (True, False)
    assert second.notes == {"note": "k"}
    assert second.seconds == first.seconds
    np.testing.assert_array_equal(second.array.ravel(), np.arange(60))
    with pytest.raises(ValueError, match="read-only"):
        second.array[0] = 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "k.npy").write_bytes((folder / "k.npy").read_bytes()[:-7]),
        lambda folder: (folder / "k.npy").write_bytes((folder / "k.npy").read_bytes()[:-1] + b"\xff"),
        lambda folder: (folder / "k.npy").write_bytes(b""),
        lambda folder: (folder / "k.npy").unlink(),
        lambda folder: (folder / "k.json").write_text("{"),
        lambda folder: (folder / "k.json").write_text("[]"),
        lambda folder: (folder / "k.json").write_text(json.dumps({"format": 0})),
        lambda folder: (folder / "k.json").unlink(),
    ],
    ids=["truncated", "flipped", "empty", "gone", "json broken", "json odd", "old format", "json gone"],
)
def test_a_damaged_array_is_rebuilt(make, damage):
    make()
    damage(make.folder)
    again = make()
    assert again.fresh
    np.testing.assert_array_equal(again.array.ravel(), np.arange(60))


def test_a_failed_making_leaves_nothing_behind(make):
    with pytest.raises(RuntimeError):
        make(fail=True)
    assert [path.suffix for path in make.folder.iterdir()] in ([".lock"], [])
    assert make().fresh


def test_two_at_once_make_it_once(make):
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: make(), range(8)))
    assert make.calls == ["k"]


def test_the_key_depends_on_every_part_and_their_order():
    base = content_key(images=["a", "b"], size=[4, 4])
    others = [content_key(images=["b", "a"], size=[4, 4]), content_key(images=["a", "b"], size=[4, 5])]
    assert len({base, *others}) == 3
    assert base == content_key(size=[4, 4], images=["a", "b"])


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux's count of mapped pages")
def test_pages_that_were_read_are_let_go_and_come_back(tmp_path):
    size = 32 * 2**20
    array = cached_array(tmp_path, "large", (size,), lambda array: array.fill(7)).array
    drop_pages(array)
    process = psutil.Process()
    before = process.memory_info().rss
    assert array.sum(dtype=np.int64) == 7 * size
    assert process.memory_info().rss > before + size // 2
    drop_pages(array)
    assert process.memory_info().rss < before + size // 2
    assert array[-1] == 7
    drop_pages(np.zeros(3))


@pytest.fixture
def in_shards(tmp_path, monkeypatch):
    monkeypatch.setattr("darkcovid.core.array_cache.SHARD_ROWS", 4)
    made = []

    def store(images="abcdefghij"):
        def fill(array, rows):
            made.append(rows)
            for row in rows:
                array[row - rows.start] = ord(images[row])
            return [images[row] for row in rows]

        return cached_sharded_array(tmp_path, list(images), (2, 3), fill, kind="letters")

    store.made = made
    return store


def test_shards_are_read_as_one_array(in_shards):
    stored = in_shards()
    array, wanted = stored.array, np.array([ord(letter) for letter in "abcdefghij"], np.uint8)
    assert in_shards.made == [range(4), range(4, 8), range(8, 10)]
    assert (array.shape, array.ndim, array.dtype, array.nbytes, len(array)) == ((10, 2, 3), 3, np.uint8, 60, 10)
    assert stored.notes == list("abcdefghij")
    for rows in (np.array([9, 0, 5, 5, 3]), [1, 8], slice(2, 9), slice(None), slice(8, 2, -2), np.array([], int)):
        np.testing.assert_array_equal(array[rows][:, 0, 0], wanted[rows])
    assert array[9][0, 0] == array[-1][1, 2] == ord("j")
    assert [picture[0, 0] for picture in array] == wanted.tolist()
    np.testing.assert_array_equal(np.array(array)[:, 1, 1], wanted)
    drop_pages(array)
    with pytest.raises(IndexError):
        array[10]


def test_only_missing_shards_are_made_and_images_are_known_by_content(in_shards):
    in_shards()
    in_shards.made.clear()
    assert not in_shards().fresh and not in_shards.made
    changed = in_shards("abcdXfghij")
    assert in_shards.made == [range(4, 8)] and changed.fresh
    assert changed.array[4][0, 0] == ord("X")
    in_shards.made.clear()
    in_shards("abcdefgh")
    assert not in_shards.made


def test_what_a_killed_process_left_is_cleared_away(make):
    (make.folder / ".k.npy.abc.part").write_bytes(b"half")
    make()
    assert sorted(path.name for path in make.folder.iterdir()) == ["k.json", "k.lock", "k.npy"]


def test_a_finding_is_found_once_and_again_when_its_file_is_damaged(tmp_path):
    found = []

    def find():
        found.append(1)
        return {"pairs": [(1, 2)]}

    for _ in range(2):
        assert cached_json(tmp_path, "f", find) == {"pairs": [[1, 2]]}
    assert len(found) == 1
    (tmp_path / "f.json").write_text('{"pairs": [[1')
    assert cached_json(tmp_path, "f", find) == {"pairs": [[1, 2]]}
    assert len(found) == 2


@pytest.mark.parametrize(("shape", "dtype"), [((5, 4, 4), np.uint8), ((5, 4, 3), np.float32), ((60,), np.uint8)])
def test_an_array_of_another_form_is_made_anew(make, shape, dtype):
    make()
    other = cached_array(make.folder, "k", shape, lambda array: array.fill(3), dtype)
    assert other.fresh and other.array.shape == shape and other.array.dtype == dtype and (other.array == 3).all()


def test_the_price_is_the_making_alone(tmp_path):
    stored = cached_array(tmp_path / "deep" / "folder", "k", (2,), lambda array: time.sleep(0.05))
    assert 0.05 <= stored.seconds < 5
    assert cached_array(tmp_path / "deep" / "folder", "k", (2,), lambda array: None).seconds == stored.seconds
    halves = cached_sharded_array(tmp_path, ["a", "b"], (2,), lambda array, rows: time.sleep(0.05), kind="slow")
    assert 0.05 <= halves.seconds < 5 and halves.notes is None


def test_shards_keep_their_type_and_give_another_when_asked(tmp_path, monkeypatch):
    monkeypatch.setattr("darkcovid.core.array_cache.SHARD_ROWS", 2)

    def fill(array, rows):
        array[:] = np.array(rows)[:, None] + 0.5

    array = cached_sharded_array(tmp_path, list("abc"), (1,), fill, np.float32, kind="halves").array
    assert array.dtype == array[:].dtype == array[[2, 0]].dtype == np.asarray(array).dtype == np.float32
    assert array[[2, 0]].tolist() == [[2.5], [0.5]]
    assert np.asarray(array, dtype=np.int64).tolist() == [[0], [1], [2]]


def test_objects_are_never_read(tmp_path):
    cached_array(tmp_path, "k", (2,), lambda array: array.fill(1))
    np.save(tmp_path / "k.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    assert is_corrupt(tmp_path / "k.npy")
    assert cached_array(tmp_path, "k", (2,), lambda array: array.fill(2)).array.tolist() == [2, 2]


def test_a_sound_array_is_not_called_damaged(make):
    make()
    path = make.folder / "k.npy"
    assert not is_corrupt(path)
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    assert is_corrupt(path)
    make()
    (make.folder / "k.json").unlink()
    assert is_corrupt(path)
    assert len(content_key(a=1)) == 32
