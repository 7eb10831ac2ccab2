"""Thousands of broken recipes, manifests and images: each is taken, or refused in one line; none is a traceback or a hang."""

import io
import random
import time
from functools import partial

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from darkcovid.core.errors import DarkCovidError
from darkcovid.data.decode import load_grayscale_bytes
from darkcovid.data.manifest import read_manifest
from darkcovid.recipe import Recipe, load_recipe

from ..conftest import RECIPES
from ..data.test_dicom import dataset, written

TRIES = 1200  # of each of the two ways to break a recipe, and of each kind of image
SLOWEST = 5.0
ODD = [None, True, False, 0, -1, 1, 2**63, 10**40, 0.5, -0.0, 1e308, float("nan"), float("inf"), "", " ", "x", "none", "phantom"]
ODD += [
    "same_pixels_as a",
    "../x",
    "/etc/passwd",
    "\0",
    "é" * 3000,
    [],
    {},
    [[]],
    [None],
    {"a": {}},
    {"": ""},
    [1, 2],
    {"x": [1]},
]
SPARED = settings(max_examples=TRIES, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)


def taken_or_refused(work):
    began = time.thread_time()  # of this thread, whatever else the machine does
    try:
        found = work()
    except DarkCovidError as error:
        assert str(error).strip() and "\n" not in str(error)
        assert "Traceback" not in str(error)
        found = None
    assert time.thread_time() - began < SLOWEST
    return found


def keys_of(schema, definitions, depth=0):
    """Every key path of a JSON schema."""
    schema = definitions.get(schema.get("$ref", "").rsplit("/", 1)[-1], schema)
    for branch in schema.get("anyOf", []):
        yield from keys_of(branch, definitions, depth)
    for name, below in schema.get("properties", {}).items():
        yield (name,)
        if depth < 4:
            yield from ((name, *rest) for rest in keys_of(below, definitions, depth + 1))


SCHEMA = Recipe.model_json_schema()
PATHS = sorted(set(keys_of(SCHEMA, SCHEMA["$defs"])))
VALUES = st.sampled_from(ODD) | st.integers(-5, 3000) | st.floats() | st.text(max_size=20)
VALUES |= st.lists(st.integers(0, 600), max_size=3) | st.dictionaries(st.text(max_size=5), st.integers(), max_size=2)


@pytest.mark.slow
@SPARED
@given(changes=st.lists(st.tuples(st.sampled_from(PATHS), VALUES), min_size=1, max_size=4), strange=st.text(max_size=8))
def test_recipes_of_any_values(tmp_path_factory, changes, strange):
    plain = yaml.safe_load((RECIPES / "segmented.yaml").read_text())
    plain["extends"] = str(RECIPES / "base.yaml")
    for path, value in changes:
        here = plain
        for key in path[:-1]:
            here = here.setdefault(key, {}) if isinstance(here, dict) else {}
            here = here if isinstance(here, dict) else {}
        here[path[-1]] = value
    if strange and len(changes) == 4:
        plain[strange] = 1
    path = tmp_path_factory.getbasetemp() / "values.yaml"
    path.write_text(yaml.safe_dump(plain, allow_unicode=True), encoding="utf-8")
    found = taken_or_refused(lambda: load_recipe(path))
    if found is not None:
        path.write_text(found.to_yaml(), encoding="utf-8")
        assert load_recipe(path) == found  # what is taken can be written and read again


def mutated(content: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, cut, doubled, swapped or put in."""
    content = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 5, 20])):
        at, length = chance.randrange(len(content) + 1), chance.choice([1, 1, 4, 30])
        match chance.randrange(5):
            case 0:
                content[at : at + length] = chance.randbytes(len(content[at : at + length]))
            case 1:
                del content[at : at + length]
            case 2:
                content[at:at] = content[at : at + length]
            case 3:
                content[at:at] = chance.choice(
                    [b"\0", b"{", b"[", b"&a ", b"*a", b"\xff\xfe", b"---\n", b": ", b"\n", b'"', b"!!", b"%"]
                )
            case 4:
                del content[at:]
        content = content or bytearray(b"x")
    return bytes(content)


@pytest.mark.slow
def test_recipes_of_any_bytes(tmp_path):
    chance, texts = random.Random(2), [path.read_bytes() for path in sorted(RECIPES.rglob("*.yaml"))]
    path, taken = tmp_path / "bytes.yaml", 0
    for _ in range(TRIES):
        text = (
            chance.choice(texts).replace(b"../base.yaml", b"base.yaml").replace(b"base.yaml", str(RECIPES / "base.yaml").encode())
        )
        path.write_bytes(mutated(text, chance))
        taken += taken_or_refused(lambda: load_recipe(path)) is not None
    assert 0 < taken < TRIES


def test_recipes_that_grow_without_end(tmp_path):
    path = tmp_path / "bomb.yaml"
    levels = "\n".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 12))
    for text in (f"l0: &l0 [x]\n{levels}\nname: b\n", "name: " + "[" * 50_000, "a: &a\n  b: *a\n", "name: b\n" + "x: {" * 3000):
        path.write_text(text)
        assert taken_or_refused(lambda: load_recipe(path)) is None


HEADER = "dataset,path,label,patient_id,sha256,width,height,lung_mask\n"
ROWS = "".join(f"a,images/{i}.png,covid,p-{i % 7},{i:064x},512,400,masks/{i}.png\n" for i in range(30))
MANIFESTS = {
    "no columns": "",
    "header alone": HEADER,
    "missing column": "path,label\nx.png,covid\n",
    "byte order mark": "\ufeff" + HEADER + ROWS,
    "windows lines": (HEADER + ROWS).replace("\n", "\r\n"),
    "old mac lines": (HEADER + ROWS).replace("\n", "\r"),
    "quotes": HEADER + 'a,"x, ""y"".png",covid,1,,,,\n',
    "an open quote": HEADER + 'a,"x.png,covid,1,,,,\n',
    "NUL": HEADER + "a,x\0.png,covid,1,,,,\n",
    "a cell of a million characters": HEADER + f"a,{'x' * 1_000_000}.png,covid,1,,,,\n",
    "a label of a million characters": HEADER + f"a,x.png,{'x' * 1_000_000},1,,,,\n",
    "the same path twice": HEADER + "a,x.png,covid,1,,,,\na,x.png,covid,1,,,,\n",
    "up and out": HEADER + "a,../../etc/passwd,covid,1,,,,\n",
    "absolute": HEADER + "a,/etc/passwd,covid,1,,,,\n",
    "another drive": HEADER + "a,C:\\x.png,covid,1,,,,\n",
    "a mask outside": HEADER + "a,x.png,covid,1,,,,../m.png\n",
    "formulas": HEADER + "a,x.png,=1+1,@x,,-3,+4,\n",
    "empty cells beyond the header": HEADER + "a,x.png,covid,1,,,,,,,,,\n",
    "too many cells": HEADER + "a,x.png,covid,1,,,,,,,,,z\n",
    "too few cells": HEADER + "a,x.png\n",
    "a short last row": HEADER + "a,x.png,covid,1",
    "columns twice": "path,label,patient_id,path,label\na,b,c,d,e\n",
    "wide": ",".join(f"c{i}" for i in range(20_000)) + "\n",
    "no path": HEADER + "a,,covid,1,,,,\n",
}
REFUSED = {"no columns", "missing column", "an open quote", "the same path twice", "up and out", "absolute", "another drive"}
REFUSED |= {"too many cells", "too few cells", "a short last row", "columns twice", "a mask outside", "wide", "NUL", "no path"}
REFUSED |= {"a cell of a million characters", "a label of a million characters"}


@pytest.mark.parametrize("name", MANIFESTS)
def test_odd_manifests(tmp_path, name):
    path = tmp_path / "manifest.csv"
    path.write_text(MANIFESTS[name], encoding="utf-8", newline="")
    found = taken_or_refused(lambda: read_manifest(path))
    assert (found is None) == (name in REFUSED)
    if found is not None:
        for row in found.rows.itertuples():
            located = found.locate(row.path)
            assert located is None or located.is_relative_to(tmp_path)


@pytest.mark.slow
def test_manifests_of_any_bytes(tmp_path):
    chance, path = random.Random(3), tmp_path / "manifest.csv"
    for _ in range(TRIES):
        path.write_bytes(mutated((HEADER + ROWS).encode(), chance))
        found = taken_or_refused(lambda: read_manifest(path))
        if found is not None:
            assert all(".." not in name.split("/") and not name.startswith("/") for name in found.rows.path)


def picture(form, mode="L"):
    random_pixels = np.random.default_rng(0).integers(0, 255, (40, 50)).astype(np.uint8)
    target = io.BytesIO()
    Image.fromarray(random_pixels).convert(mode).save(target, format=form)
    return target.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    [picture("PNG"), picture("PNG", "P"), picture("JPEG"), picture("JPEG", "CMYK"), written(dataset())],
    ids=["png", "palette", "jpeg", "cmyk", "dicom"],
)
def test_images_of_any_bytes(content):
    chance = random.Random(4)
    assert load_grayscale_bytes(content, "whole").size
    for number in range(TRIES // 2):
        found = taken_or_refused(partial(load_grayscale_bytes, mutated(content, chance), f"image {number}"))
        assert found is None or found.mode == "L"
