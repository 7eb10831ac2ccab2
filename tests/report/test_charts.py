"""Charts say what they are given, at the place where it belongs."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

from darkcovid.evaluation.evaluate import evaluate
from darkcovid.metrics.classification import PROBABILITY
from darkcovid.report.arm_charts import prediction_charts
from darkcovid.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axes, Line, line_chart, ticks

SVG = "{http://www.w3.org/2000/svg}"


def drawn(lines, axes=None):
    text = line_chart("title", lines, axes or Axes("x", "y", (0, 10), (0, 1)))
    return ElementTree.fromstring(text.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def places(chart):
    return [(float(dot.get("cx")), float(dot.get("cy")), dot[0].text) for dot in chart.iter(f"{SVG}circle")]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0, 10, [0, 2, 4, 6, 8, 10]), (0.83, 1.02, [0.85, 0.9, 0.95, 1]), (-3, 3, [-2, 0, 2])],
)
def test_ticks_are_round_and_inside(low, high, expected):
    assert ticks(low, high) == expected


@pytest.mark.parametrize("low", [1e-7, 0.3, 40, 9e6])
@pytest.mark.parametrize("span", [1e-6, 0.01, 3, 5e5])
def test_there_are_some_ticks_but_not_many(low, span):
    found = ticks(low, low + span)
    assert 2 <= len(found) <= 8 and len(set(np.diff(found).round(12))) <= 2


def test_points_stand_where_their_values_are():
    (left, bottom, _), (middle, center, said), (right, top, _) = places(drawn([Line("a", [0, 5, 10], [0, 0.5, 1])]))
    assert (middle, center) == (pytest.approx((left + right) / 2, abs=0.1), pytest.approx((top + bottom) / 2, abs=0.1))
    assert left < right and top < bottom  # down the page is less
    assert said == "a: x 5, y 0.500"


def test_an_interval_is_drawn_and_said():
    chart = drawn([Line("a", [5], [0.5], low=[0.25], high=[0.75], joined=False)])
    ((x, y, said),) = places(chart)
    (whisker,) = [path.get("d") for path in chart.iter(f"{SVG}path") if path.get("class") == "whisker"]
    x_low, low, x_high, high = map(float, re.findall(r"[\d.]+", whisker))
    assert x_low == x_high == x and low - y == pytest.approx(y - high, abs=0.2) and low > y > high
    assert said.endswith("(0.250 to 0.750)")


def test_what_is_no_number_is_left_out_and_no_line_is_no_chart():
    assert len(places(drawn([Line("a", [0, 1, 2], [0.5, math.nan, 0.7])]))) == 2
    assert line_chart("title", [Line("a", [0, 1], [math.nan, math.inf])], Axes("x", "y")) == ""
    assert line_chart("title", [], Axes("x", "y")) == ""


def test_names_cannot_be_markup():
    chart = drawn([Line('<script>"&', [0], [1])], Axes("<b>", "&y"))
    assert places(chart)[0][2].startswith('<script>"&: <b> 0, &y 1')


def test_a_long_line_stays_small_and_keeps_its_ends():
    rows = np.linspace(0, 10, 100_000)
    text = line_chart("title", [Line("a", rows.tolist(), (rows / 10).tolist())], Axes("x", "y", (0, 10), (0, 1)))
    assert len(text) < 20_000 and "a: x 0, y 0.000" in text and "a: x 10, y 1.000" in text


@pytest.mark.parametrize("values", [[0.5, 0.5], [0, 0], [-4, -2], [1e-9, 2e-9]])
def test_every_range_can_be_drawn(values):
    chart = drawn([Line("a", [1, 1], values)], Axes("x", "y"))
    assert all(0 <= x <= 340 and 0 <= y <= 230 for x, y, _ in places(chart))


def test_the_area_under_a_drawn_curve_is_the_number_beside_it():
    random, classes = np.random.default_rng(0), ["covid", "no_finding", "pneumonia"]
    labels, shares = random.integers(0, 3, 40), random.dirichlet([1, 1, 1], 40)
    table = pd.DataFrame({"side": "valid", "label": np.array(classes)[labels], "image": range(40)})
    table["patient"] = table.image.astype(str)
    table[[PROBABILITY + name for name in classes]] = shares
    metrics = evaluate(table.assign(sex="", view="", age=""), classes)
    for chart, name in zip(prediction_charts(table, metrics)[:2], ("roc_auc", "average_precision"), strict=True):
        curves = re.findall(r'class="line" stroke="[^"]+" d="M([^"]+)"', chart.svg)
        for curve, of_class in zip(curves, metrics.valid.per_class.values(), strict=True):
            x, y = np.array([point.split() for point in curve.split("L")], float).T
            across = np.abs(np.trapezoid(HEIGHT - BOTTOM - y, x)) / ((WIDTH - LEFT - RIGHT) * (HEIGHT - TOP - BOTTOM))
            assert across == pytest.approx(getattr(of_class, name), abs=0.01)
