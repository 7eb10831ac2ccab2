import json

import yaml
from huggingface_hub import ModelCard

from darkcovid.inference.load import load_fitted
from darkcovid.inference.model_card import hub_model_card


def test_the_hub_s_own_library_reads_the_card(fitted_run):
    metrics = json.loads((fitted_run / "small" / "metrics.json").read_text())
    card = ModelCard(hub_model_card(load_fitted(fitted_run, "small")))
    assert card.data.pipeline_tag == "image-classification" and "not-for-diagnosis" in card.data.tags
    scores = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert scores == {name: metrics[name] for name in ("accuracy", "balanced_accuracy")}
    assert "never a diagnosis" in card.text and "nothing is known of other hospitals" in card.text
    for name, of_class in metrics["per_class"].items():
        shown = name.replace("_", r"\_")
        assert f"| {shown} | {of_class['recall']:.3f} | {of_class['specificity']:.3f} |" in card.text
    assert (card.data.license, card.data.to_dict()["license_name"]) == ("other", "not-stated")


def test_the_command_writes_it(darkcovid, fitted_run, tmp_path):
    file = tmp_path / "README.md"
    said = json.loads(darkcovid("report", fitted_run / "small", "--sheet", "model-card", "--output", file, "--json").stdout)
    assert said == {"sheet": str(file)} and yaml.safe_load(file.read_text().split("---")[1])["library_name"] == "darkcovid"
    darkcovid("report", fitted_run, "--sheet", "model-card", "--format", "docx", code=2)
