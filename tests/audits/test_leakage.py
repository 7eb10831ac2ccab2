import numpy as np
import pandas as pd
import pytest

from darkcovid.audits.leakage import DuplicatePair, check_no_leaks, exact_duplicates, find_cohort_leaks, find_leaks
from darkcovid.audits.metadata import PandasMetadata, metadata_table
from darkcovid.core.errors import UsageError
from darkcovid.data.manifest import OPTIONAL
from darkcovid.data.near_duplicates.search import SIZE, describe_alterations, find_near_duplicates
from darkcovid.data.resize import cached_whole_images

ROWS = pd.DataFrame({"path": list("abcdef"), "patient_id": ["p", "p", "q", "r", "", ""], **dict.fromkeys(OPTIONAL, "")})
LABELS = ["covid", "covid", "covid", "flu", "flu", "covid"]
SHA = ["1", "2", "3", "3", "5", "6"]


def facts(sides, sha256=SHA):
    return PandasMetadata(metadata_table(ROWS.assign(sha256=sha256), LABELS, sides))


def test_patients_and_copies_on_two_sides_are_found():
    found = find_leaks(
        facts(["train", "valid", "train", "valid", "train", "train"]), [DuplicatePair("e", "f", across=False, relabeled=True)]
    )
    assert found.patients == {"total": 5, "repeated": 1, "on_both_sides": 1, "with_several_labels": 0}
    assert (found.straddling, found.unknown_patients) == (["p"], 2)
    assert found.exact == found.exact_across == [("c", "d")]
    assert (found.near, found.near_across) == ([("e", "f")], [])
    assert found.relabeled == [("c", "d"), ("e", "f")]
    assert found.as_dict()["leaks"]
    assert found.as_dict()["duplicates"]["looked_for"] == describe_alterations()
    with pytest.raises(UsageError, match=r"1 patients are in several sets \(p\); 1 pair of identical images .* c and d"):
        check_no_leaks(found, allowed=False)
    check_no_leaks(found, allowed=True)


def test_one_side_leaks_nothing():
    found = find_leaks(facts("all"))
    assert not found.leaks
    assert found.as_dict()["duplicates"]["looked_for"] == ""
    check_no_leaks(found, allowed=False)


def test_unknown_checksums_are_no_copies():
    found = exact_duplicates(facts("all", ["", "", "a", "a", "a", ""]).copies())
    assert [pair.paths for pair in found] == [("c", "d"), ("c", "e")]


def test_recompressed_copies_are_found_and_other_patients_are_not(cohort, cache_dir):
    pixels = np.array(cached_whole_images(cohort.files, cohort.sha256, SIZE, cache_dir).array)
    noise = np.random.default_rng(0).integers(-6, 7, (3, *SIZE))
    copies = np.clip(pixels[[2, 10, 20]].astype(int) * 0.9 + 12 + noise, 0, 255).astype(np.uint8)
    found = find_near_duplicates(np.concatenate([pixels, copies]))
    count = len(pixels)
    assert found == [(2, count), (10, count + 1), (20, count + 2)]


def test_the_phantom_cohort_leaks_nothing_by_patient_and_patients_when_images_are_drawn(phantom_data, cohort, cache_dir):
    from darkcovid.data.cohort import load_classification_cohort
    from darkcovid.recipe import Split

    assert not find_cohort_leaks(cohort, cache_dir).leaks
    drawn = load_classification_cohort(phantom_data.model_copy(update={"split": Split(method="random")}), cache_dir)
    leaks = find_cohort_leaks(drawn, cache_dir)
    sides = pd.DataFrame({"patient": drawn.patients, "valid": drawn.valid}).groupby("patient").valid.nunique()
    assert leaks.patients["on_both_sides"] == (sides > 1).sum() > 0


@pytest.mark.slow
@pytest.mark.real_data
def test_the_repeated_patients_of_the_real_radiographs(real_data, cache_dir):
    from darkcovid.data.cohort import load_classification_cohort
    from darkcovid.recipe import Data, Split

    data = Data(manifest=str(real_data / "ozturk512" / "manifest.csv"), split=Split(method="random"))
    found = find_cohort_leaks(load_classification_cohort(data, cache_dir), cache_dir)
    assert found.patients["repeated"] == 192
    assert found.patients["with_several_labels"] == 21
    assert found.patients["on_both_sides"] > 50
