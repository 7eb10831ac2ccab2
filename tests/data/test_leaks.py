import numpy as np
import pandas as pd
import pytest

from darkcovid.data.duplicates import SIZE, looked_for, near_pairs
from darkcovid.data.facts import TableFacts, facts_of
from darkcovid.data.leaks import Twins, exact_copies, find_leaks, leaks_of, refuse_leaks
from darkcovid.data.manifest import OPTIONAL
from darkcovid.data.pixels import whole_pixels
from darkcovid.errors import RequestError

ROWS = pd.DataFrame({"path": list("abcdef"), "patient_id": ["p", "p", "q", "r", "", ""], **dict.fromkeys(OPTIONAL, "")})
LABELS = ["covid", "covid", "covid", "flu", "flu", "covid"]
SHA = ["1", "2", "3", "3", "5", "6"]


def facts(sides, sha256=SHA):
    return TableFacts(facts_of(ROWS.assign(sha256=sha256), LABELS, sides))


def test_patients_and_copies_on_two_sides_are_found():
    found = find_leaks(
        facts(["train", "valid", "train", "valid", "train", "train"]), [Twins("e", "f", across=False, relabelled=True)]
    )
    assert found.patients == {"total": 5, "repeated": 1, "on_both_sides": 1, "with_several_labels": 0}
    assert (found.straddling, found.unknown_patients) == (["p"], 2)
    assert found.exact == found.exact_across == [("c", "d")]
    assert (found.near, found.near_across) == ([("e", "f")], [])
    assert found.relabelled == [("c", "d"), ("e", "f")]
    assert found.as_dict()["leaks"]
    assert found.as_dict()["duplicates"]["looked_for"] == looked_for()
    with pytest.raises(RequestError, match=r"1 patients are on several sides \(p\); 1 pairs of identical images .* c and d"):
        refuse_leaks(found, allowed=False)
    refuse_leaks(found, allowed=True)


def test_one_side_leaks_nothing():
    found = find_leaks(facts("all"))
    assert not found.leaks
    assert found.as_dict()["duplicates"]["looked_for"] == ""
    refuse_leaks(found, allowed=False)


def test_unknown_checksums_are_no_copies():
    found = exact_copies(facts("all", ["", "", "a", "a", "a", ""]).copies())
    assert [pair.paths for pair in found] == [("c", "d"), ("c", "e")]


def test_recompressed_copies_are_found_and_other_patients_are_not(cohort, cache_dir):
    pixels = np.array(whole_pixels(cohort.files, cohort.sha256, SIZE, cache_dir).array)
    noise = np.random.default_rng(0).integers(-6, 7, (3, *SIZE))
    copies = np.clip(pixels[[2, 10, 20]].astype(int) * 0.9 + 12 + noise, 0, 255).astype(np.uint8)
    found = near_pairs(np.concatenate([pixels, copies]))
    count = len(pixels)
    assert found == [(2, count), (10, count + 1), (20, count + 2)]


def test_the_phantom_cohort_leaks_nothing_by_patient_and_patients_when_images_are_drawn(phantom_data, cohort, cache_dir):
    from darkcovid.data.cohort import classification_cohort
    from darkcovid.recipe import Split

    assert not leaks_of(cohort, cache_dir).leaks
    drawn = classification_cohort(phantom_data.model_copy(update={"split": Split(method="random")}), cache_dir)
    leaks = leaks_of(drawn, cache_dir)
    sides = pd.DataFrame({"patient": drawn.patients, "valid": drawn.valid}).groupby("patient").valid.nunique()
    assert leaks.patients["on_both_sides"] == (sides > 1).sum() > 0


@pytest.mark.slow
@pytest.mark.real_data
def test_the_repeated_patients_of_the_real_radiographs(real_data, cache_dir):
    from darkcovid.data.cohort import classification_cohort
    from darkcovid.recipe import Data, Split

    data = Data(manifest=str(real_data / "ozturk512" / "manifest.csv"), split=Split(method="random"))
    found = leaks_of(classification_cohort(data, cache_dir), cache_dir)
    assert found.patients["repeated"] == 192
    assert found.patients["with_several_labels"] == 21
    assert found.patients["on_both_sides"] > 50
