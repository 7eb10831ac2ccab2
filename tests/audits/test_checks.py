"""Checks on evidence written by hand: each of them with every status that it can have."""

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from darkcovid.audits import checks
from darkcovid.audits.checks import AUTHOR, FAIL, NOT_RUN, PASS, STATED, WARN, RunEvidence, run_checks
from darkcovid.audits.findings import parse_data_audit
from darkcovid.core.environment import Environment
from darkcovid.evaluation.results import OcclusionAudit
from darkcovid.evaluation.subgroups import subgroup_tests
from darkcovid.metrics.metrics_with_intervals import metrics_with_intervals
from darkcovid.metrics.p_values import holm
from darkcovid.metrics.skill_without_lungs import view_metrics
from darkcovid.recipe import Recipe, load_recipe

from ..arms import ARM, METRICS, comparison_of
from ..conftest import RECIPES

SPANS = {name: span for name, span in METRICS["intervals"].items() if name != "accuracy"}
AUDIT = {
    "images": 100,
    "leaks": False,
    "chance": 0.6,
    "patients": {"total": 90, "repeated": 5, "on_both_sides": 0, "with_several_labels": 0},
    "unknown_patients": 0,
    "duplicates": {"exact": 0, "near": 0, "exact_across_sides": 0, "near_across_sides": 0, "looked_for": "Looked for all."},
    "checksums": {"verified": 100, "unrecorded": 0},
    "confounding": [],
    "metadata_alone": {"accuracy": 0.6, "interval": [0.5, 0.7]},
    "image_statistics_alone": {"accuracy": 0.62, "interval": [0.61, 0.7]},
    "source_from_pixels": {"variable": "source", "accuracy": 0.6, "balanced_accuracy": 0.5, "chance": 0.58},
    "ages": {"covid": {"known": 9, "mean": 60.0, "children": 0}, "none": {"known": 9, "mean": 58.0, "children": 0}},
    "missing": {"sex": {"covid": 0.0, "none": 0.1}},
}
FINDINGS = parse_data_audit(AUDIT)
CLASSES = ("covid", "none")
WHOLE = Recipe(name="whole", training={"folds": 5}, data={"augment": "none", "classes": CLASSES}).model_dump(mode="json")
ENVIRONMENT = Environment(darkcovid="0.1", platform="x", libraries={"torch": "2", "fastai": "2"})


def recipe(section, **keys):
    return {section: WHOLE[section] | keys}


def statuses(arm=None, audit=None, recipe=None, environment=None, no_audit=False, **arms):
    evidence = None if no_audit else parse_data_audit(AUDIT | (audit or {}))
    comparison = comparison_of({"one": ARM | (arm or {})} | arms)
    found = RunEvidence(WHOLE | (recipe or {}), comparison, evidence, replace(ENVIRONMENT, **(environment or {})))
    return {row.number: (row.status, row.words) for row in run_checks(found)}


def blind(accuracy=0.6, **more):
    """An arm that tells nothing apart."""
    spans = {name: [0.3, 0.7] for name in SPANS}
    none = {"recall": 0.5, "specificity": 0.5, "roc_auc": 0.5}
    of_classes = {name: scores | none for name, scores in ARM["per_class"].items()}
    return ARM | {"accuracy": accuracy, "per_class": of_classes, "intervals": {"accuracy": [0.5, 0.7], **spans}} | more


def source(**more):
    one = {"variable": "source", "classes": ["covid", "none"], "accuracy": 1.0, "cramers_v": 0.9, "p": 0.001}
    one |= {"p_holm": 0.005, "chance": 0.6}
    return {"audit": {"confounding": [one | more]}}


def external(fall, low, **arm):
    accuracy = {"inside": 0.9, "outside": 0.9 - fall, "fall": fall, "interval": [low, fall + 0.1]}
    ward = METRICS | {"images": 9, "patients": 9, "fall": {"classes": ["covid"], "balanced_accuracy": accuracy}}
    return {"arm": {"external": {"ward": ward}} | arm}


def told(p):
    groups = [
        {"variable": "sex", "value": name, "images": 20, "patients": 15, "accuracy": 0.9, "interval": None} for name in "FM"
    ]
    return {"arm": {"subgroups": groups, "subgroup_tests": [{"variable": "sex", "groups": ["F", "M"], "p": p}]}}


def supported(images, patients):
    counts = {name: {"images": images, "patients": patients} for name in ARM["per_class"]}
    per_class = {name: scores | {"support": images} for name, scores in ARM["per_class"].items()}
    return {"arm": {"images_per_class": counts, "per_class": per_class}}


def audit_of(**one):
    return {"audit": one}


def image(inside, fresh=None):
    shares = {"inside_lungs": inside, "inside_lungs_of_fresh_weights": fresh}
    return {"arm": {"attention": {"covid": ARM["attention"]["covid"] | shares}}}


MUCH = {"intervals": {"accuracy": [0.7, 0.9], **SPANS}}
CASES = [
    (1, audit_of(), PASS),
    (1, audit_of(checksums={"verified": 9, "unrecorded": 1}), WARN),
    (2, audit_of(), PASS),
    (2, audit_of(unknown_patients=3), WARN),
    (3, audit_of(), PASS),
    (3, audit_of(patients=AUDIT["patients"] | {"on_both_sides": 3}), FAIL),
    (4, audit_of(), PASS),
    (4, audit_of(duplicates=AUDIT["duplicates"] | {"near_across_sides": 1}), FAIL),
    (4, audit_of(duplicates=AUDIT["duplicates"] | {"looked_for": ""}), NOT_RUN),
    (4, {"arm": {"images": {"valid": 40}}}, NOT_RUN),
    (3, {"arm": {"images": {"valid": 40}}}, NOT_RUN),
    (5, audit_of(), PASS),
    (5, audit_of(patients=AUDIT["patients"] | {"with_several_labels": 2}), WARN),
    (6, audit_of(), NOT_RUN),
    (6, source(cramers_v=0.1), PASS),
    (3, audit_of(unknown_patients=3), WARN),
    (6, source(), FAIL),
    (6, source(p_holm=0.2), PASS),
    (7, audit_of(), PASS),
    (7, audit_of(metadata_alone={"accuracy": 0.7, "interval": [0.62, 0.8]}), WARN),
    (7, audit_of(metadata_alone={"accuracy": 0.97, "interval": [0.9, 1.0]}), FAIL),
    (7, audit_of(metadata_alone={"accuracy": 0.88, "interval": [0.59, 0.95]}), PASS),
    (7, {"arm": blind(0.62), "audit": {"metadata_alone": {"accuracy": 0.66, "interval": [0.61, 0.7]}}}, WARN),
    (7, {"arm": blind(0.61), "audit": {"metadata_alone": {"accuracy": 0.59, "interval": [0.5, 0.7]}}}, PASS),
    (8, audit_of(), PASS),
    (8, audit_of(image_statistics_alone={"accuracy": 0.7, "interval": [0.65, 0.8]}), WARN),
    (8, audit_of(image_statistics_alone={"accuracy": 0.9, "interval": [0.8, 0.95]}), FAIL),
    (9, audit_of(), PASS),
    (9, audit_of(ages={"covid": {"known": 0, "mean": None, "children": 0}}), WARN),
    (10, audit_of(), PASS),
    (10, audit_of(missing={"sex": {"covid": 0.0, "none": 1.0}}), WARN),
    (11, {}, STATED),
    (12, {}, AUTHOR),
    (13, {}, PASS),
    (13, {"arm": {"normalizer": {"kind": "imagenet"}}}, PASS),
    (13, {"arm": {"normalizer": {"kind": "training", "mean": 0.501, "training_mean": 0.5}}}, FAIL),
    (14, {}, AUTHOR),
    (15, {}, PASS),
    (15, {"recipe": recipe("training", folds=None)}, WARN),
    (16, {}, PASS),
    (16, {"recipe": recipe("training", checkpoint="best")}, WARN),
    (16, {"recipe": recipe("training", early_stopping_patience=5)}, WARN),
    (16, {"recipe": recipe("training", checkpoint="best"), "arm": {"test": METRICS}}, PASS),
    (17, {}, PASS),
    (17, {"recipe": recipe("data", augment="fastai_default")}, WARN),
    (17, {"recipe": recipe("data", augment="trivial")}, PASS),
    (17, {"recipe": recipe("data", augment={"flip": 0.5})}, WARN),
    (17, {"recipe": recipe("data", augment={"flip_vertical": 0.5})}, WARN),
    (17, {"recipe": recipe("data", augment={"rotate": 5.0})}, PASS),
    (18, {}, PASS),
    (18, {"two": ARM | {"epochs": 9}}, WARN),
    (19, {"audit_no_lungs": ARM | MUCH | {"accuracy": 0.85}}, FAIL),
    (19, {"audit_no_lungs": blind(0.7, intervals=blind()["intervals"] | {"accuracy": [0.62, 0.8]})}, WARN),
    (19, {"audit_no_lungs": blind(0.61)}, PASS),
    (20, {"audit_lungs_only": ARM}, STATED),
    (21, {"audit_border_only": ARM | MUCH | {"accuracy": 0.85}}, FAIL),
    (21, {"audit_border_only": blind(0.7, intervals=blind()["intervals"] | {"accuracy": [0.62, 0.8]})}, WARN),
    (21, {"audit_border_only": blind()}, PASS),
    (22, {"audit_thumbnail": ARM | MUCH | {"accuracy": 0.85}}, WARN),
    (22, {"audit_thumbnail": blind()}, PASS),
    (23, audit_of(), PASS),
    (23, audit_of(source_from_pixels=AUDIT["source_from_pixels"] | {"accuracy": 0.8}), WARN),
    (23, audit_of(source_from_pixels=None), AUTHOR),
    (24, {"audit_shuffled": ARM | MUCH | {"accuracy": 0.8}}, FAIL),
    (24, {"audit_shuffled": blind()}, PASS),
    (25, image(0.4), PASS),
    (25, image(0.2), WARN),
    (25, image(0.4, fresh=0.5), WARN),
    (25, image(0.4, fresh=0.3), PASS),
    (26, {}, STATED),
    (27, {}, STATED),
    (28, {}, STATED),
    (29, {}, AUTHOR),
    (30, {}, PASS),
    (30, {"arm": {"ece": 0.3}}, WARN),
    (30, {"arm": {"labels_only": True}}, NOT_RUN),
    (31, told(0.4), PASS),
    (31, told(0.01), WARN),
    (31, {}, WARN),
    (32, {}, AUTHOR),
    (32, external(0.05, -0.01, accuracy=0.5), NOT_RUN),
    (32, external(0.05, -0.01), PASS),
    (32, external(0.08, 0.01), WARN),
    (32, external(0.2, 0.1), FAIL),
    (33, {}, AUTHOR),
    (34, {}, WARN),
    (34, supported(images=200, patients=90), PASS),
    (34, supported(images=200, patients=9), WARN),
    (35, {}, AUTHOR),
    (36, {}, STATED),
    (37, {}, PASS),
    (37, {"environment": {"libraries": {"torch": None, "fastai": "2"}}}, WARN),
    (37, {"arm": {"peak_host_bytes": 0}}, WARN),
    (38, {}, PASS),
    (38, {"recipe": {"no_such_key": 1}}, FAIL),
    *((number, {"no_audit": True}, NOT_RUN) for number in (*range(1, 11), 23)),
    *((number, {}, NOT_RUN) for number in (19, 20, 21, 22, 24)),
    (25, {"arm": {"attention": {}}}, NOT_RUN),
    (13, {"arm": {"normalizer": None}}, NOT_RUN),
]


@pytest.mark.parametrize(("number", "change", "status"), CASES)
def test_each_check_has_the_status_that_its_evidence_asks_for(number, change, status):
    assert statuses(**change)[number][0] == status


def named_statuses():
    """The statuses that each check's own code, and the functions of its module that it calls, can return."""
    words = {"PASS": PASS, "WARN": WARN, "FAIL": FAIL, "NOT_RUN": NOT_RUN, "AUTHOR": AUTHOR, "STATED": STATED}
    claimed = {}
    for path in Path(checks.__file__).parent.glob("*.py"):
        functions = {node.name: node for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}

        def named(function, functions=functions):
            names = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)} - {function.name}
            inner = [named(functions[name]) for name in names & set(functions)]
            return {words[name] for name in names & set(words)}.union(*inner)

        for function in functions.values():
            numbers = [
                call.args[0].value
                for call in function.decorator_list
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "check"
            ]
            audited = any(getattr(one, "id", "") == "audited" for one in function.decorator_list)
            claimed |= {number: named(function) | ({NOT_RUN} if audited else set()) for number in numbers}
    claimed[22] -= {FAIL}  # turned into a warning
    return claimed


def test_every_status_that_a_check_claims_is_reached_and_no_check_has_but_one():
    claimed = named_statuses()
    assert sorted(claimed) == list(range(1, 39))
    reached = {number: {status for of, _, status in CASES if of == number} for number in claimed}
    assert reached == claimed
    rows = {row.number: row for row in run_checks(RunEvidence(WHOLE, comparison_of({"one": ARM}), FINDINGS, ENVIRONMENT))}
    for number, row in rows.items():
        outcomes = claimed[number] - {NOT_RUN}
        assert row.declares == (outcomes <= {STATED, AUTHOR}), number
        assert row.declares or (PASS in outcomes and outcomes & {WARN, FAIL}), number


def test_nothing_fails_where_nothing_is_wrong():
    found = statuses()
    assert list(found) == list(range(1, 39))
    assert [number for number, (status, _) in found.items() if status == "fail"] == []
    assert "no map" in found[25][1]


def test_excluded_images_are_counted_by_label():
    words = statuses(arm={"excluded_by_label": {"sars": 12, "": 3}})[11][1]
    assert words.endswith("of other labels: sars 12, no label 3")


def test_the_majority_class_is_that_of_the_images_scored():
    classes = {name: scores | {"support": 31} for name, scores in blind()["per_class"].items()}
    assert "majority class 0.500" in statuses(audit_no_lungs=blind(per_class=classes))[19][1]


def test_images_that_keep_their_lungs_are_said():
    assert "6 images whose lung mask was rejected keep their lungs" in statuses(audit_no_lungs=blind(untrusted_lungs=6))[19][1]


def test_arms_of_the_zoo_are_judged_each_by_its_own_keys():
    plain = load_recipe(RECIPES / "zoo.yaml", ["data.augment=trivial"])
    arms = dict(plain.arms) | {
        "resnet18": plain.arms["resnet18"] | {"training.checkpoint": "best", "data.augment": "fastai_default"}
    }
    zoo = plain.model_copy(update={"arms": arms}).model_dump(mode="json")
    rows = {
        row.number: row for row in run_checks(RunEvidence(zoo, comparison_of(dict.fromkeys(arms, ARM)), FINDINGS, ENVIRONMENT))
    }
    assert (rows[16].status, rows[17].status) == (WARN, WARN)
    assert "resnet18: the best epoch" in rows[16].words
    assert rows[17].words.endswith("(resnet18)")
    clean = plain.model_dump(mode="json")
    rows = {
        row.number: row
        for row in run_checks(RunEvidence(clean, comparison_of(dict.fromkeys(plain.arms, ARM)), FINDINGS, ENVIRONMENT))
    }
    assert (rows[16].status, rows[17].status, rows[17].words) == (PASS, PASS, "trivial")


NAMES = ("covid", "no_finding", "pneumonia")


def audited(counts, marked, seed=0):
    """What the shortcut audit says of a network that reads the lungs, and of `marked` a marker too, of so many images of each
    class: with the lungs erased it knows the marked class perfectly, and calls the others by one name."""
    labels = np.repeat(np.arange(3), counts)
    patients = np.arange(len(labels)).astype(str)
    random = np.random.default_rng(seed)
    others = [code for code in range(3) if code != marked]
    common = max(others, key=lambda code: counts[code])

    def answers(called):
        noise = random.uniform(0, 0.05, (len(called), 3))
        powers = 0.8 * np.eye(3)[called] + 0.1 + noise
        return view_metrics(metrics_with_intervals(labels, powers / powers.sum(1, keepdims=True), NAMES, patients))

    erased = np.where(labels == marked, marked, common) if marked is not None else np.full(len(labels), np.argmax(counts))
    views = {"plain": answers(labels), "lungs_only": answers(labels)}
    views |= {name: answers(erased) for name in ("lungs_erased", "border_only", "thumbnail")}
    return OcclusionAudit(images=len(labels), chance=max(counts) / sum(counts), views=views)


@pytest.mark.parametrize("counts", [(40, 40, 40), (125, 500, 500)])
@pytest.mark.parametrize("marked", [0, 1, 2])
def test_a_marker_of_one_class_fails_by_that_class(counts, marked):
    """Of the accuracy above chance a perfect marker of one of three equal classes leaves 50 %, of 125 in 1,125 images 20 %:
    neither is more than the thresholds. Of its class it leaves all."""
    audit = audited(counts, marked)
    if marked == 0:
        assert audit.skill_without_lungs == pytest.approx(0.5 if counts[0] == 40 else 0.2)
    assert audit.views["lungs_erased"].recall[NAMES[marked]] == 1.0
    rows = statuses(arm={"shortcuts": audit.as_dict()})
    assert (rows[19][0], rows[21][0]) == (FAIL, FAIL)
    assert f"100% of its ability to tell {NAMES[marked]} from the rest" in rows[19][1]


@pytest.mark.parametrize("counts", [(40, 40, 40), (125, 500, 500)])
def test_a_network_that_calls_every_erased_image_by_one_name_is_not_accused(counts):
    """Its recall of that class is 1.00, and it knows nothing."""
    audit = audited(counts, None)
    assert max(audit.views["lungs_erased"].recall.values()) == 1.0
    rows = statuses(arm={"shortcuts": audit.as_dict()})
    assert (rows[19][0], rows[21][0], rows[22][0]) == (PASS, PASS, PASS)


def test_shortcuts_of_the_whole_are_still_judged():
    def arm(erased):
        views = {view: {"accuracy": erased} for view in ("lungs_erased", "lungs_only", "border_only")}
        skill = {"plain": {"accuracy": 0.9}, "skill_without_lungs": (erased - 0.6) / 0.3}
        return {"shortcuts": {"images": 20, "chance": 0.6, **views, **skill}}

    assert statuses(arm=arm(0.85))[19][0] == statuses(arm=arm(0.85))[21][0] == "fail"
    assert statuses(arm=arm(0.70))[19][0] == statuses(arm=arm(0.70))[21][0] == "warn"
    assert statuses(arm=arm(0.62))[19][0] == "pass"


@pytest.mark.slow
def test_equal_groups_are_seldom_told_apart():
    """300 cohorts of 60 patients of one to four images, accuracy .85 whatever the sex, view and age: check 31 warns in 5 % of
    them (25 would come up once in 100 times of that). By point estimates it was 82 %. A group that is truly worse is seen."""
    random, warned, seen = np.random.default_rng(0), 0, 0
    for _ in range(300):
        who = np.repeat(np.arange(60), random.integers(1, 5, 60))
        sexes = random.choice(["F", "M"], 60)
        table = pd.DataFrame({"patient": who.astype(str), "sex": sexes[who], "view": random.choice(["PA", "AP"], len(who))})
        table["age"] = random.integers(20, 90, 60).astype(str)[who]
        hard = random.random(60) < 0.2
        right = random.random(len(who)) < np.where(hard, 0.45, 0.95)[who]
        tests = subgroup_tests(table, right)
        warned += min(holm({test.variable: test.p for test in tests}).values()) < 0.05
        worse = right & ((table.sex == "F") | (random.random(len(who)) < 0.5)).to_numpy()
        seen += {test.variable: test.p for test in subgroup_tests(table, worse)}["sex"] < 0.05 / 3
    print(f"warned in {warned} of 300, saw {seen} of 300")
    assert warned <= 25
    assert seen >= 240
