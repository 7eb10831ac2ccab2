"""A manifest's description in Croissant, read back by MLCommons's own library."""

import json

import mlcroissant as mlc
import pytest

from darkcovid.core.errors import UsageError
from darkcovid.data.croissant import CONFORMS_TO, write_croissant
from darkcovid.data.manifest import read_manifest

from ..commands import error_of
from .importers import miniatures

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")


@pytest.fixture
def manifest(darkcovid, tmp_path):
    folder = miniatures.chest_xray_pneumonia(tmp_path / "chest_xray")
    darkcovid("data", "import", folder)
    return folder / "manifest.csv"


def test_the_library_reads_every_row(darkcovid, manifest):
    output = manifest.with_name("croissant.json")
    done = darkcovid("data", "describe", manifest, "--croissant", output)
    assert "is recommended" in done.stderr
    dataset = mlc.Dataset(output)
    assert dataset.metadata.ctx.issues.errors == set()
    assert json.loads(output.read_text())["conformsTo"] == CONFORMS_TO
    rows = read_manifest(manifest).rows
    records = list(dataset.records("radiographs"))
    assert [record["radiographs/path"].decode() for record in records] == rows.path.tolist()
    assert [record["radiographs/label"].decode() for record in records] == rows.label.tolist()
    assert [record["radiographs/width"] for record in records] == rows.width.astype(int).tolist()
    before = output.read_bytes()
    darkcovid("data", "describe", manifest, "--croissant", output)
    assert output.read_bytes() == before


def test_what_cannot_be_described(darkcovid, manifest, tmp_path):
    (tmp_path / "deep").mkdir()
    output = tmp_path / "deep" / "croissant.json"
    assert "write it beside the manifest" in error_of(darkcovid("data", "describe", manifest, "--croissant", output, code=2))
    semicolons = manifest.with_name("semicolons.csv")
    semicolons.write_text(manifest.read_text().replace(",", ";"))
    with pytest.raises(UsageError, match="a CSV with commas"):
        write_croissant(read_manifest(semicolons), semicolons, semicolons.with_name("a.json"))
    assert not list(tmp_path.rglob("*.json"))
