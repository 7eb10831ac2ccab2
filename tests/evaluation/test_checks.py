"""Checks on evidence written by hand."""

import pytest

from darkcovid.evaluation.checks import Evidence, run_checks

ARM = {
    "accuracy": 0.9,
    "images": {"train": 80, "valid": 20},
    "bad_images": 0,
    "epochs": 5,
    "ece": 0.05,
    "calibration": {"ece_after": 0.02},
    "per_class": {"covid": {"support": 8}, "none": {"support": 12}},
    "subgroups": [],
    "intervals": {"accuracy": [0.8, 0.95]},
    "attention": {"covid": {"inside_lungs": 0.4, "inside_lungs_of_fresh_weights": None, "lungs_of_picture": 0.3}},
}
AUDIT = {
    "chance": 0.6,
    "patients": {"total": 90, "repeated": 5, "on_both_sides": 0, "with_several_labels": 0},
    "unknown_patients": 0,
    "duplicates": {"exact": 0, "near": 0, "exact_across_sides": 0, "near_across_sides": 0},
    "checksums": {"verified": 100, "unrecorded": 0},
    "confounding": [],
    "metadata_alone": {"accuracy": 0.6},
    "image_statistics_alone": {"accuracy": 0.62},
    "source_from_pixels": {"variable": "source", "accuracy": 0.6, "balanced_accuracy": 0.5, "chance": 0.58},
    "ages": {"covid": {"known": 9, "mean": 60.0, "children": 0}, "none": {"known": 9, "mean": 58.0, "children": 0}},
    "missing": {"sex": {"covid": 0.0, "none": 0.1}},
}
RECIPE = {"training": {"folds": 5, "seeds": None, "keep": "last"}, "data": {"augment": "none"}}
ENVIRONMENT = {"darkcovid": "0.1", "platform": "x", "libraries": {"torch": "2", "fastai": "2"}}


def statuses(arm=None, audit=None, recipe=None, **arms):
    found = Evidence(RECIPE | (recipe or {}), {"arms": {"one": ARM | (arm or {})} | arms}, AUDIT | (audit or {}), ENVIRONMENT)
    return {row.number: (row.status, row.words) for row in run_checks(found)}


def test_nothing_fails_where_nothing_is_wrong():
    found = statuses()
    assert list(found) == list(range(1, 39))
    assert [number for number, (status, _) in found.items() if status == "fail"] == []
    assert "no map" in found[25][1]


@pytest.mark.parametrize(
    ("number", "change", "status"),
    [
        (3, {"audit": {"patients": AUDIT["patients"] | {"on_both_sides": 3}}}, "fail"),
        (4, {"audit": {"duplicates": AUDIT["duplicates"] | {"near_across_sides": 1}}}, "fail"),
        (5, {"audit": {"patients": AUDIT["patients"] | {"with_several_labels": 2}}}, "warn"),
        (7, {"audit": {"metadata_alone": {"accuracy": 0.97}}}, "fail"),
        (8, {"audit": {"image_statistics_alone": {"accuracy": 0.7}}}, "warn"),
        (9, {"audit": {"ages": {"covid": {"known": 0, "mean": None, "children": 0}}}}, "warn"),
        (10, {"audit": {"missing": {"sex": {"covid": 0.0, "none": 1.0}}}}, "warn"),
        (15, {"recipe": {"training": {"folds": None, "seeds": None, "keep": "last"}}}, "warn"),
        (16, {"recipe": {"training": {"folds": 5, "seeds": None, "keep": "best"}}}, "warn"),
        (16, {"recipe": {"training": {"folds": 5, "seeds": None, "keep": "last", "stop_after": 5}}}, "warn"),
        (17, {"recipe": {"data": {"augment": "fastai_default"}}}, "warn"),
        (18, {"two": ARM | {"epochs": 9}}, "warn"),
        (19, {"audit_no_lungs": ARM | {"accuracy": 0.85}}, "fail"),
        (19, {"audit_no_lungs": ARM | {"accuracy": 0.61}}, "pass"),
        (21, {"audit_border_only": ARM | {"accuracy": 0.8, "intervals": {"accuracy": [0.7, 0.9]}}}, "warn"),
        (22, {"audit_thumbnail": ARM | {"accuracy": 0.6, "intervals": {"accuracy": [0.5, 0.7]}}}, "pass"),
        (23, {"audit": {"source_from_pixels": AUDIT["source_from_pixels"] | {"accuracy": 0.8}}}, "warn"),
        (23, {"audit": {"source_from_pixels": None}}, "needs the author"),
        (24, {"audit_shuffled": ARM | {"accuracy": 0.8, "intervals": {"accuracy": [0.7, 0.9]}}}, "fail"),
        (24, {"audit_shuffled": ARM | {"accuracy": 0.6, "intervals": {"accuracy": [0.5, 0.7]}}}, "pass"),
        (30, {"arm": {"ece": 0.3}}, "warn"),
        (34, {"arm": {"per_class": {"covid": {"support": 200}, "none": {"support": 300}}}}, "pass"),
    ],
)
def test_each_fault_is_seen(number, change, status):
    assert statuses(**change)[number][0] == status


def test_a_class_that_comes_from_one_source_fails():
    one = {"variable": "source", "classes": ["covid", "none"], "accuracy": 1.0, "cramers_v": 0.9, "p": 0.005}
    assert statuses(audit={"confounding": [one]})[6][0] == "fail"


def test_a_fall_elsewhere_is_judged_by_its_interval():
    def arm(fall, low):
        accuracy = {"inside": 0.9, "outside": 0.9 - fall, "fall": fall, "interval": [low, fall + 0.1]}
        return {"external": {"ward": {"fall": {"classes": ["covid"], "balanced_accuracy": accuracy}}}}

    assert statuses()[32][0] == "needs the author"
    assert [statuses(arm=arm(*one))[32][0] for one in ((0.05, -0.01), (0.08, 0.01), (0.2, 0.1))] == ["pass", "warn", "fail"]


def test_shortcuts_of_a_network_that_was_not_trained_again():
    def arm(erased):
        views = {view: {"accuracy": erased} for view in ("lungs_erased", "lungs_only", "border_only")}
        skill = {"plain": {"accuracy": 0.9}, "skill_without_lungs": (erased - 0.6) / 0.3}
        return {"shortcuts": {"images": 20, "chance": 0.6, **views, **skill}}

    assert statuses(arm=arm(0.85))[19][0] == "fail"
    assert statuses(arm=arm(0.62))[19][0] == "pass"
    assert statuses(arm=arm(0.85))[21][0] == "warn"
    assert statuses()[19][0] == "not run"
