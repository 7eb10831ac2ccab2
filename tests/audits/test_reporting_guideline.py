import pytest

from darkcovid.audits.checks import PASS, RunEvidence, run_checks
from darkcovid.audits.findings import parse_data_audit
from darkcovid.audits.reporting_guideline import reporting_sheet
from darkcovid.recipe import Recipe, load_recipe

from ..arms import ARM, METRICS, comparison_of
from ..conftest import RECIPES
from .test_checks import AUDIT, ENVIRONMENT, FINDINGS


def topics(audit=AUDIT, arm=None, **recipe):
    plain = Recipe(name="r", **recipe).model_dump(mode="json")
    found = reporting_sheet(
        RunEvidence(plain, comparison_of({"one": ARM | (arm or {})}), audit and parse_data_audit(audit), ENVIRONMENT)
    )
    return {topic.name: topic for topic in found}


def test_the_run_answers_what_it_can_and_asks_the_rest():
    found = topics()
    assert found["network"].answer == "darkcovidnet, one 1,234 parameters"
    assert found["preprocessing"].answer.startswith("8-bit gray, resized (one 64x48 px)")
    assert found["disjoint at the level of"].answer == "patients"
    assert found["flow of images"].answer == "100 images used, 0 unusable ones excluded"
    assert found["performance"].answer == "one 0.900 [0.800, 0.950]"
    assert found["external data"].answer == ""
    assert (found["annotators"].answer, bool(found["annotators"].ask)) == ("", True)
    assert all(topic.answer or topic.ask for topic in found.values())


def test_leaks_and_external_sets_are_named():
    leaking = AUDIT | {"patients": AUDIT["patients"] | {"on_both_sides": 4}}
    found = topics(leaking, {"external": {"ward": METRICS | {"images": 30, "patients": 20, "fall": {"classes": ["covid"]}}}})
    assert found["disjoint at the level of"].answer == "images only: 4 patients are in two sets"
    assert found["external data"].answer == "ward: 30 images of 20 patients"


def test_without_an_audit_nothing_is_made_up():
    found = topics(audit=None)
    assert found["missing values"].answer == found["demographics"].answer == found["disjoint at the level of"].answer == ""


def test_it_is_said_by_what_the_epoch_was_chosen():
    chosen = "which weights are kept"
    assert topics()[chosen].answer == "the weights of the last epoch"
    assert topics(training={"checkpoint": "best"})[chosen].answer == "the weights of the best epoch by validation accuracy"
    assert topics(training={"checkpoint": "best", "monitor": "roc_auc"})[chosen].answer.endswith("by validation roc auc")


def test_arms_that_replace_keys_answer_for_themselves():
    """recipes/zoo.yaml: two arms from scratch in one cycle, four of ImageNet weights that are fine-tuned."""
    recipe = load_recipe(RECIPES / "zoo.yaml", [])
    names = list(recipe.arms)
    found = reporting_sheet(
        RunEvidence(recipe.model_dump(mode="json"), comparison_of(dict.fromkeys(names, ARM)), FINDINGS, ENVIRONMENT)
    )
    answers = {topic.name: topic.answer for topic in found}
    transfer = "resnet18, efficientnet_lite0, densenet121, efficientnet_b0, mobilenetv3"
    assert answers["initial weights"] == f"darkcovidnet, cnn13: from scratch; {transfer}: imagenet weights"
    networks = "darkcovidnet: darkcovidnet; cnn13: cnn13; resnet18: resnet18; efficientnet_lite0: timm/tf_efficientnet_lite0; "
    assert answers["network"].startswith(networks)
    fitted, tuned = answers["optimization"].split("; ")
    assert fitted.startswith("darkcovidnet, cnn13: 20 epochs") and "one_cycle" in fitted
    assert tuned.startswith(f"{transfer}: 20 epochs") and "fine_tune" in tuned
    assert answers["augmentation"] == "fastai_default"


def test_lungs_are_said_of_the_arms_that_have_them():
    recipe = load_recipe(RECIPES / "segmented.yaml", [])
    arms = comparison_of(dict.fromkeys(recipe.arms, ARM))
    found = {
        topic.name: topic for topic in reporting_sheet(RunEvidence(recipe.model_dump(mode="json"), arms, FINDINGS, ENVIRONMENT))
    }
    answer = found["preprocessing"].answer
    assert "unsegmented, small: normalized: training, whole images" in answer
    assert "segmented: normalized: training, lungs: crop" in answer


def test_enhanced_contrast_is_said():
    recipe = load_recipe(RECIPES / "segmented.yaml", ["data.contrast=clahe"])
    arms = comparison_of(dict.fromkeys(recipe.arms, ARM))
    (topic,) = (
        topic
        for topic in reporting_sheet(RunEvidence(recipe.model_dump(mode="json"), arms, FINDINGS, ENVIRONMENT))
        if topic.name == "preprocessing"
    )
    assert "unsegmented, small: contrast: clahe, normalized: training, whole images" in topic.answer


@pytest.mark.parametrize(
    ("head", "said"), [("linear-probe", "a logistic regression"), ("nearest-neighbors", "the vote of the 20")]
)
def test_of_a_probe_nothing_is_said_that_was_not_done(head, said):
    training = {"checkpoint": "best", "early_stopping_patience": 3}
    found = topics(model={"arch": "resnet18", "head": head}, training=training)
    assert said in found["network"].answer
    assert found["augmentation"].answer == "none"
    assert "epochs" not in found["optimization"].answer
    assert found["which weights are kept"].answer == "those that were fitted"
    recipe = Recipe(name="one", model={"arch": "resnet18", "head": head}, training=training).model_dump(mode="json")
    evidence = RunEvidence(recipe, comparison_of({"one": ARM}), FINDINGS, ENVIRONMENT)
    status = {row.name: row.status for row in run_checks(evidence)}
    assert status["augmentations"] == status["which epoch is kept"] == PASS
