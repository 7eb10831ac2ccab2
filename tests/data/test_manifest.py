import unicodedata

import pandas as pd
import pyarrow as pa
import pytest

from darkcovid.core.errors import DataError, UsageError
from darkcovid.data.describe import describe
from darkcovid.data.manifest import read_manifest
from darkcovid.data.splits import patient_groups
from darkcovid.data.table_cells import unify_patient_ids

HEADER = "dataset,path,label,patient_id\n"


@pytest.fixture
def write(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "manifest.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_unknown_columns_are_empty_and_cells_are_text(write):
    manifest = read_manifest(write(HEADER + "a,x.png,covid,007\n"))
    assert manifest.rows.patient_id[0] == "007"
    assert manifest.rows.sha256[0] == ""


def test_a_byte_order_mark_and_windows_lines_do_no_harm(write):
    manifest = read_manifest(write("\ufeff" + (HEADER + "a,x.png,covid,1\n").replace("\n", "\r\n")))
    assert manifest.rows.to_dict("records")[0]["label"] == "covid"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dataset,path,label\na,x.png,covid\n", "'patient_id' is missing"),
        (HEADER + "a,x.png,covid,1\na,x.png,covid,1\n", "row 3: 'x.png' is listed twice"),
        (HEADER + "a,../x.png,covid,1\n", "row 2: '../x.png' must be a relative path"),
        (HEADER + "a,/etc/passwd,covid,1\n", "must be a relative path"),
        (HEADER + "a,C:\\x.png,covid,1\n", "must be a relative path"),
        (HEADER + "a,x.png,covid,1\na,.\\x.png,covid,1\n", "row 3: 'x.png' is listed twice"),
        (HEADER + "\n\na,x.png,covid,1\n,,,\na,./x.png,covid,1\n", "row 6: 'x.png' is listed twice"),
        (HEADER + 'a,"x\ny.png",covid,1\n\na,../x.png,covid,1\n', "row 5: '../x.png' must be"),
        (HEADER + "a,é.png,covid,1\na,e\u0301.png,covid,1\n", "row 3: 'é.png' is listed twice"),
        (HEADER + "a,x.png,covid,1.23457E+11\n", "row 2: patient_id '1.23457E+11' was rounded by a spreadsheet"),
        ("path,label,patient_id,lung_mask\nx.png,covid,1,..\\m.png\n", "row 2: '../m.png' must be a relative path"),
        ("path,label,label ,patient_id\nx.png,covid,covid,1\n", "column 'label' is in the header 2 times"),
        (HEADER + "a,x.png,covid,1.23e11\n", "row 2: patient_id '1.23e11' was rounded"),
        (
            "image;finding;patientid\nx.png;covid;1\n",
            "'path' is missing; a manifest needs path, label, patient_id; the header has image",
        ),
    ],
)
def test_an_unusable_manifest_is_refused_with_the_row(write, text, words):
    with pytest.raises(UsageError) as caught:
        read_manifest(write(text))
    assert words in str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("blank", [" ", ""])
def test_every_program_s_csv_is_read(write, encoding, delimiter, end, blank):
    table = [["Path", "LABEL", "Patient ID", "dataset", "Notes"], ["images\\a.png", "covid", "1", "a", "où; ça, |"]]
    lines = [delimiter.join(f'"{blank}{cell}{blank}"' for cell in row) for row in table]
    for hint in ("", f"sep={delimiter}{end}"):
        manifest = read_manifest(write(hint + end.join(lines) + end + end, encoding))
        (row,) = manifest.rows.to_dict("records")
        assert (row["path"], row["label"], row["patient_id"]) == ("images/a.png", "covid", "1")
        assert row["Notes"] == "où; ça, |"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04 and so on", "an Excel workbook"),
        (
            HEADER.encode() + "a,é.png,covid,1\n".encode("latin-1"),
            "not text in UTF-8 or UTF-16 .* byte 0xe9.*save it as 'CSV UTF-8'",
        ),
        (HEADER.encode() + b"a,x.png,covid\n", "row 2: 3 cells under a header of 4"),
        (b"path,label,patient_id,age\nx.png,a,1,20\ny.png,b,2", "row 3: 3 cells under a header of 4"),
        (HEADER.encode() + b"a,x.png,covid,1,,2\n", "row 2: 6 cells under a header of 4"),
        (HEADER.encode() + b'a,y.png,b,2\n\na,"x.png,covid,1\n', "row 4: not readable as CSV"),
        (HEADER.encode() + b'a,"y"z.png,b,2\n', "row 2: not readable as CSV"),
    ],
)
def test_what_is_no_table_is_refused_with_the_cause(tmp_path, content, words):
    path = tmp_path / "manifest.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_manifest(path)


def test_empty_cells_beyond_the_header_and_columns_without_a_name_are_left_out(write):
    rows = read_manifest(write(",path,label,patient_id,\n0,x.png,covid,1,,\n1,y.png,covid,2,,\n")).rows
    assert rows.patient_id.tolist() == ["1", "2"] and "" not in rows


def test_excel_s_short_rows_are_filled_up(write):
    rows = read_manifest(write("path,label,patient_id,age,notes\nx.png,covid,1,20,a\ny.png,covid,2\nz.png,covid,3,,\n")).rows
    assert rows.age.tolist() == ["20", "", ""] and rows.notes.tolist() == ["a", "", ""]


def test_the_delimiter_is_the_one_between_known_columns(write):
    rows = read_manifest(write('path,label,patient_id,"view; sex; age; origin; x"\nx.png,covid,1,PA\n')).rows
    assert rows.path[0] == "x.png"
    rows = read_manifest(write('"sep=;"\npath;label;patient_id\nx.png;covid;1\n')).rows
    assert rows.path[0] == "x.png"


def test_a_doubled_column_of_no_use_is_read_once(write):
    rows = read_manifest(write("path,label,patient_id,notes,notes\nx.png,covid,1,a,b\n")).rows
    assert rows.notes[0] == "a"


def test_merged_ids_are_those_of_the_chosen_rows(write):
    manifest = read_manifest(write(HEADER + "a,1.png,covid,p1\nb,2.png,covid,Q1\nb,3.png,covid,q1\n"))
    assert manifest.of_datasets(["a"], "--dataset").merged_patients == ()
    assert manifest.of_datasets(["b"], "--dataset").merged_patients == (("Q1", "q1"),)


def test_many_spellings_take_no_time(write):
    ids = [form for number in range(20_000) for form in (f"{number:09}", str(number))]
    ids, merged = unify_patient_ids(pd.Series(ids))
    assert ids.nunique() == len(merged) == 20_000


def test_typed_tables_are_read_as_text(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "manifest.parquet"
    table = {"path": ["a.png", "b.png"], "label": ["x", None], "patient_id": [123456789012.0, 3.0], "age": [41.5, None]}
    parquet.write_table(pa.table(table | {"boxes": [[1, 2], []], "thumbnail": [b"\xff\xd8", b""]}), path)
    rows = read_manifest(path).rows
    assert rows.patient_id.tolist() == ["123456789012", "3"] and rows.age.tolist() == ["41.5", ""]
    assert rows.label.tolist() == ["x", ""] and "boxes" not in rows
    parquet.write_table(pa.table(table | {"label": [[1], [2]]}), path)
    with pytest.raises(DataError, match="column 'label' is no text"):
        read_manifest(path)


def test_known_columns_keep_their_names_beside_others_like_them(write):
    rows = read_manifest(write("path,Label,label,patient_id,My Column\nx.png,A,b,1,c\n")).rows
    assert rows.label[0] == "b" and rows.Label[0] == "A" and rows["My Column"][0] == "c"


@pytest.mark.parametrize(
    ("ids", "patients"),
    [
        (["3", "3.0", "3.00", "03", "003", " 3 "], 1),
        (["p1", "P1", "p1 ", "\u00a0p1", "Ｐ1", "p1\u200b", "\ufeffp1"], 1),
        (["7e12", "12345678.0", "12345678"], 2),
        (["Person  7", "person 7"], 1),
        (["3", "30", "3.5", "3-0", "p3"], 5),
        (["p1", "p01", "p1-2", "p12"], 4),
        (["", "nan", "NaN", "None", "<NA>", "n/a", " "], 7),
        (["0", "00", "000"], 1),
    ],
)
def test_a_patient_is_one_however_the_id_is_spelled(write, ids, patients):
    lines = [f"a,{number}.png,covid,{patient}\n" for number, patient in enumerate(ids)]
    manifest = read_manifest(write(HEADER + "".join(lines)))
    assert patient_groups(manifest.rows).nunique() == patients
    backward = read_manifest(write(HEADER + "".join(reversed(lines))))
    assert sorted(backward.rows.patient_id) == sorted(manifest.rows.patient_id)


def test_merged_patient_ids_are_told(write):
    manifest = read_manifest(
        write(HEADER + "a,1.png,covid,p1\na,2.png,covid,P1\na,3.png,covid,p2\na,4.png,covid,3.0\na,5.png,covid,3\n")
    )
    assert manifest.merged_patients == (("P1", "p1"),)
    assert describe(manifest)["patients"]["merged_ids"] == [["P1", "p1"]]
    assert manifest.rows.patient_id.tolist() == ["P1", "P1", "p2", "3", "3"]


def test_cells_are_written_in_one_way(write):
    header = "path,label,patient_id,sex,view,age,sha256,lung_mask\n"
    rows = read_manifest(write(header + "x.png,none,1,female,pa,nan,ABC,NaN\ny.png,b,2,M,AP Supine,41,,m\\y.png\n")).rows
    assert rows.loc[0, ["label", "sex", "view", "age", "sha256", "lung_mask"]].tolist() == ["none", "F", "PA", "", "abc", ""]
    rows = read_manifest(write("path,label,patient_id,dataset,source\nx.png,NA,1,NA,n/a\n")).rows
    assert rows.loc[0, ["label", "dataset", "source"]].tolist() == ["", "", ""]
    rows = read_manifest(write(header + "x.png,none,1,female,pa,nan,ABC,NaN\ny.png,b,2,M,AP Supine,41,,m\\y.png\n")).rows
    assert rows.loc[1, ["sex", "view", "lung_mask"]].tolist() == ["M", "AP Supine", "m/y.png"]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_file_is_found_in_either_unicode_form(write, tmp_path, form):
    name = "é/ü.png"
    file = tmp_path / unicodedata.normalize(form, name)
    file.parent.mkdir()
    file.write_text("")
    for written in ("NFC", "NFD"):
        manifest = read_manifest(write(HEADER + f"a,{unicodedata.normalize(written, name)},covid,1\n"))
        assert manifest.locate(manifest.rows.path[0]) == file


def test_a_file_named_in_neither_form_is_found(write, tmp_path):
    """The angstrom sign U+212B composes to the letter U+00C5, and back to neither itself."""
    name = "\u212b/\u212bngstr\u00f6m.png"
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text("")
    manifest = read_manifest(write(HEADER + f"a,{name},covid,1\n"))
    assert manifest.locate(manifest.rows.path[0]) == tmp_path / name
    assert manifest.locate("\u00e5/none.png") is None


def test_a_file_of_other_capitals_is_named(write, tmp_path):
    (tmp_path / "Images").mkdir()
    (tmp_path / "Images" / "X.PNG").write_text("")
    manifest = read_manifest(write(HEADER + "a,images/x.png,covid,1\n"))
    assert manifest.in_other_case("images/x.png").as_posix() == "Images/X.PNG"
    assert manifest.in_other_case("images/y.png") is None
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "z.png").symlink_to("nowhere")
    assert manifest.in_other_case("images/z.png") is None


def test_what_is_no_csv_is_damaged_data(write, tmp_path):
    with pytest.raises(DataError):
        read_manifest(write('path,label,patient_id\n"unclosed'))
    with pytest.raises(DataError):
        read_manifest(write(HEADER + "a,é.png,covid,1\n", encoding="latin-1"))
    with pytest.raises(UsageError, match="no such file"):
        read_manifest(tmp_path / "absent.csv")


def test_files_are_found_beside_the_manifest_then_in_the_given_root_then_by_environment(write, tmp_path, monkeypatch):
    path = write(HEADER + "a,x.png,covid,1\n")
    for folder in ("root", "environment"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.png").write_text("")
    monkeypatch.setenv("DARKCOVID_DATA", str(tmp_path / "environment"))
    assert read_manifest(path).locate("x.png") == tmp_path / "environment" / "x.png"
    assert read_manifest(path, tmp_path / "root").locate("x.png") == tmp_path / "root" / "x.png"
    (tmp_path / "x.png").write_text("")
    assert read_manifest(path, tmp_path / "root").locate("x.png") == tmp_path / "x.png"
    assert read_manifest(path).locate("y.png") is None


def test_describe_counts_images_patients_and_what_repeats(write):
    text = HEADER + "a,1.png,covid,p1\na,2.png,covid,p1\na,3.png,pneumonia,p1\na,4.png,covid,\nb,5.png,covid,p2\n"
    counts = describe(read_manifest(write(text)))
    assert counts["datasets"]["a"]["covid"] == {"images": 3, "patients": 2}
    assert counts["patients"] == {
        "known": 2,
        "with_several_images": 1,
        "with_several_labels": 1,
        "images_without_patient": 1,
        "merged_ids": [],
    }
    assert counts["present"] == 0


def test_the_public_manifest_has_the_published_counts():
    from ..conftest import RECIPES

    counts = describe(read_manifest(RECIPES.parent / "data_manifest.csv"))
    images = {label: count["images"] for label, count in counts["datasets"]["ozturk"].items()}
    assert images == {"covid": 125, "no_finding": 500, "pneumonia": 500}
    assert counts["without_checksum"] == 1
