"""Curves of many classes, and of classes called in any script."""

import warnings

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from darkcovid.evaluation.evaluate import evaluate
from darkcovid.report import plots
from darkcovid.report.colors import distinct_colors
from darkcovid.report.plots import plot_confusion, plot_predictions, shown


def predictions(names, side="valid", count=120):
    random = np.random.default_rng(0)
    labels = np.arange(count) % len(names)
    powers = np.exp(random.normal(size=(count, len(names))) + 2 * np.eye(len(names))[labels])
    table = pd.DataFrame({f"probability_{name}": powers[:, i] / powers.sum(1) for i, name in enumerate(names)})
    about = {"image": [f"{side}{i}" for i in range(count)], "patient": [f"{side}{i}" for i in range(count)], "side": side}
    return table.assign(**about, label=np.array(names)[labels], sex="", view="", age="")


@pytest.fixture
def drawn(monkeypatch):
    """Every figure that is saved, by its file's name."""
    figures, real = {}, plots.save

    def save(figure: Figure, path):
        figures[path.name] = figure
        real(figure, path)

    monkeypatch.setattr(plots, "save", save)
    return figures


@pytest.mark.parametrize("count", [2, 7, 8, 12])
def test_every_class_has_a_curve_of_its_own_color(count, drawn, tmp_path):
    names = [f"class{i}" for i in range(count)]
    table = predictions(names)
    plot_predictions(table, evaluate(table, names), names, tmp_path)
    curves = [line for line in drawn["roc.png"].axes[0].lines if line.get_label().startswith("class")]
    assert [line.get_label().split(":")[0] for line in curves] == names
    assert len({line.get_color() for line in curves}) == len(set(distinct_colors(count))) == count


def test_the_curves_are_of_the_test_set_where_there_is_one(drawn, tmp_path):
    names = ["a", "b"]
    table = pd.concat([predictions(names), predictions(names, "test", 60)], ignore_index=True)
    metrics = evaluate(table, names)
    plot_predictions(table, metrics, names, tmp_path)
    labels = [line.get_label() for line in drawn["roc.png"].axes[0].lines]
    assert f"a: AUC {metrics.test.per_class['a'].roc_auc:.3f}" in labels


@pytest.mark.parametrize("name", ["пневмония", "πνευμονία", "肺炎", "التهاب", "निमोनिया", "\U0001f9a0"])
def test_a_class_of_any_script_is_drawn_without_boxes(name, tmp_path):
    """A letter that no installed font has would be a box, and a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_confusion(np.eye(2, dtype=int), [name, "none"], tmp_path / "matrix.png")
    assert (tmp_path / "matrix.png").stat().st_size > 1000
    (text,) = shown([name])
    assert text in (name, "class 1")
    assert shown(["a", "\U0001f9a0\U000f0000"])[1] == "class 2"
    assert shown(["пневмония", "covid 19"]) == ["пневмония", "covid 19"]
