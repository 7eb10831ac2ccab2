"""The report of a small run, as a file and as a browser shows it."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import pandas as pd
import pytest
from playwright.sync_api import sync_playwright
from typer.testing import CliRunner

from darkcovid.audits.checks import run_checks
from darkcovid.audits.explanations import METHODS, RANDOM_WEIGHTS
from darkcovid.cli import app
from darkcovid.core.errors import UsageError
from darkcovid.experiment.runner import RunPaths, run
from darkcovid.recipe import load_recipe
from darkcovid.report.html import read_evidence, render_report, write_report
from darkcovid.report.image_browser import image_browser
from darkcovid.report.several_explanations import explained_arms
from darkcovid.report.verdict import verdict

from ..conftest import RECIPES
from ..experiment.test_runner import SETS, Watched
from ..serving.test_page import CHROMIUM

SECTIONS = ("verdict", "arms", "scores", "elsewhere", "audits", "checklist", "sheet", "card", "what")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two arms on phantoms that carry a planted marker."""
    root = tmp_path_factory.mktemp("report")
    sets = [*SETS, "lungs.crop_size=64", "data.phantom.shortcut=1.0", "data.phantom.patients=60"]
    ward = "{manifest: phantom, name: ward, shared_patient_ids: false, phantom: {patients: 24, image_size: 96, seed: 8}}"
    sets.append(f"data.external=[{ward}]")
    recipe = load_recipe(RECIPES / "segmented.yaml", sets)
    comparison = run(recipe, RunPaths(root / "runs", root / "cache"), Watched(), ["unsegmented", "segmented"])
    return root / "runs" / comparison["run_dir"].split("/")[-1]


def test_a_run_ends_with_its_report(finished):
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert all(f'id="{section}"' in page for section in SECTIONS)
    assert "never a diagnosis" in page
    assert page.count('<figure class="chart">') == 2 * 7 and page.count('<figure class="chart wide">') == 1
    assert all(re.findall(r'<img [^>]*alt="[^"]+"', image) for image in re.findall(r"<img (?!class=\"heat\")[^>]*>", page))


def test_the_page_needs_nothing_from_outside(finished):
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', page)
    assert "<script" not in page
    outside_of_pictures = re.sub(r"<pre>.*?</pre>|data:image/webp;base64,[\w+/=]+", "", page, flags=re.S)  # may say it by chance
    assert "http" not in outside_of_pictures


class Tables(HTMLParser):
    """Every table of a page: its rows, each a list of its cells' texts."""

    def __init__(self, page):
        super().__init__()
        self.tables, self.cell = [], None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.cell = ""

    def handle_data(self, data):
        if self.cell is not None:
            self.cell += data

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.tables[-1][-1].append(self.cell.strip())
            self.cell = None


def frames(page):
    """A page's tables, the first row of each as its heading."""
    return [pd.DataFrame(rows, columns=head) for head, *rows in Tables(page).tables if all(len(row) == len(head) for row in rows)]


def cells_that_differ(page, run):
    """Cells of the arms' table and of the scores in full that are not what the `metrics.json` of their arm says."""
    arms_table, *others = frames(page)
    arms_table, differing = arms_table.set_index(""), []
    scores = [table for table in others if list(table.columns[:3]) == ["class", "images", "precision"]]
    headings = re.findall(r"<h3>([^<]+)</h3>", page[page.index('id="scores"') : page.index('id="audits"')])
    for arm in ("unsegmented", "segmented"):
        metrics = json.loads((run / arm / "metrics.json").read_text())
        expected = {"accuracy": metrics["accuracy"], "balanced accuracy": metrics["balanced_accuracy"]}
        expected["AUROC, mean of classes"] = metrics["macro"]["roc_auc"]
        differing += [(arm, row) for row, value in expected.items() if arms_table.loc[row, arm] != f"{value:.3f}"]
        table = scores[headings.index(arm)].set_index("class")
        for name, of_class in metrics["per_class"].items():
            for metric in ("precision", "recall", "specificity", "f1", "roc_auc"):
                low, high = metrics["intervals"][f"{name}.{metric}"] or (None, None)
                text = f"{of_class[metric]:.3f}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]")
                differing += [(arm, name, metric)] if str(table.loc[name, metric.replace("_", " ")]) != text else []
            differing += [(arm, name)] if table.loc[name, "images"] != str(of_class["support"]) else []
    return differing


def test_every_cell_is_what_the_runs_files_say(finished):
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert cells_that_differ(page, finished) == []


def test_each_threshold_that_misses_the_wanted_sensitivity_is_named_with_why(finished):
    arms, page = json.loads((finished / "comparison.json").read_text())["arms"], (finished / "report.html").read_text()
    missed = []
    for arm in arms.values():
        for label, points in arm.get("test", arm)["operating_points"].items():
            missed += [(label, point) for point in points if point["sensitivity"] < point["wanted_sensitivity"]]
    assert missed
    for label, point in missed:
        assert f"{label} at {point['wanted_sensitivity']:.0%} (reached {point['sensitivity']:.3f})" in page
    assert page.count("(reached ") == len(missed) and "judged on others here" in page


def test_swapped_columns_would_be_seen(finished):
    """The same page with the two arms' headings exchanged."""
    page = (finished / "report.html").read_text(encoding="utf-8")
    swapped = page
    for before, after in (("unsegmented", "?"), ("segmented", "unsegmented"), ("?", "segmented")):
        swapped = swapped.replace(f'<th scope="col">{before}<', f'<th scope="col">{after}<')
    assert swapped != page
    assert cells_that_differ(swapped, finished)
    heads = page.replace("<h3>unsegmented</h3>", "<h3>?</h3>").replace("<h3>segmented</h3>", "<h3>unsegmented</h3>")
    assert cells_that_differ(heads.replace("<h3>?</h3>", "<h3>segmented</h3>"), finished)


def test_only_checks_are_counted(finished):
    page = (finished / "report.html").read_text(encoding="utf-8")
    checks = [row for row in run_checks(read_evidence(finished)) if not row.declares]
    badges = re.findall(r'<span class="badge \w+">(\d+) [\w ]+</span>', page[: page.index('id="arms"')])
    assert sum(map(int, badges)) == len(checks) == 27
    assert "of 27 checks; 11 declarations" in page
    assert "One validation split" in page


def test_all_checks_are_there_once_and_a_planted_source_fails(finished):
    evidence = read_evidence(finished)
    checks = run_checks(evidence)
    assert [row.number for row in checks] == list(range(1, 39))
    by_number = {row.number: row for row in checks}
    assert (by_number[3].status, by_number[6].status, by_number[34].status) == ("pass", "fail", "warn")
    assert "source goes with the class" in by_number[6].words
    assert verdict(evidence, checks)[0].startswith("Not as it stands: ")


def test_what_was_not_audited_gets_no_better_verdict(finished, monkeypatch):
    monkeypatch.setattr("darkcovid.report.verdict.majority", lambda metrics: 0.0)
    evidence = read_evidence(finished)
    name, _ = evidence.best
    arm = evidence.comparison.arms[name]
    quiet = replace(arm, metrics=replace(arm.metrics, audited=False, shortcuts=None))
    shortcuts_unknown = replace(evidence, comparison=replace(evidence.comparison, arms={**evidence.comparison.arms, name: quiet}))
    for less, audit, said in (
        (replace(evidence, audit=None), {"audit": "none"}, "neither leaked patients nor shortcuts were looked for (audit: none)"),
        (shortcuts_unknown, {"audit": "data"}, "shortcuts were not looked for (audit: data)"),
        (shortcuts_unknown, {}, "shortcuts were not looked for"),
    ):
        recipe = {key: value for key, value in evidence.recipe.items() if key != "audit"} | audit
        less = replace(less, recipe=recipe)
        passed = [row for row in run_checks(less) if row.status != "fail"]
        first = verdict(less, passed)[0]
        assert first.startswith(f"Not audited: {said}, so that nothing failed says little.")
        warned = [row.name for row in passed if row.status == "warn"]
        assert warned and all(name in first for name in warned) and first.endswith("for caution.")
        assert verdict(less, [row for row in passed if row.status == "pass"])[0].endswith("says little.")


def test_the_verdict_says_what_was_shown_outside_and_what_is_refused(finished):
    evidence = read_evidence(finished)
    name, _ = evidence.best
    arm = evidence.comparison.arms[name]

    def with_sets(arm, *sizes):
        valid = arm.metrics.valid
        valid = replace(valid, conformal=replace(valid.conformal, set_sizes=list(sizes)))
        told = replace(arm, metrics=replace(arm.metrics, valid=valid))
        return replace(evidence, comparison=replace(evidence.comparison, arms={**evidence.comparison.arms, name: told}))

    every_class = verdict(with_sets(arm, 0, 0, 0, 1.0), run_checks(evidence))
    assert any(line.startswith("The best arm answers none of the validation images: every set holds all") for line in every_class)
    evidence = with_sets(arm, 0, 0.9, 0.1, 0)
    arm = evidence.comparison.arms[name]
    said = verdict(evidence, run_checks(evidence))
    found, places = arm.metrics.valid.conformal, arm.metrics.elsewhere
    (refusals,) = [line for line in said if line.startswith("The best arm answers ")]
    assert f"{found.answered:.0%} of the validation images ({found.wrong_answers:.1%} wrongly" in refusals
    for place, metrics in places.items():
        assert f"of those of {place} ({metrics.conformal.wrong_answers:.1%} wrongly" in refusals
    outside = [line for line in said if line.startswith("On images from elsewhere")]
    assert len(outside) == bool(places)
    alone = replace(arm, metrics=replace(arm.metrics, external={}, sources={}))
    alone = replace(evidence, comparison=replace(evidence.comparison, arms={**evidence.comparison.arms, name: alone}))
    assert "Nothing is shown of other hospitals: no image from elsewhere was scored." in verdict(alone, run_checks(alone))
    page = (finished / "report.html").read_text()
    assert '<section id="refusals">' in page and "risk_coverage" not in page.split("<body>")[0]


def test_the_report_can_be_written_anew_and_without_radiographs(finished):
    done = CliRunner().invoke(app, ["report", str(finished), "--no-images", "--json"])
    assert json.loads(done.stdout) == {"report": str(finished / "report.html")}
    assert 'id="galleries"' not in (finished / "report.html").read_text(encoding="utf-8")


def test_what_is_no_finished_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"not a finished run .*; name a folder that `darkcovid run` made"):
        write_report(tmp_path)


@pytest.mark.slow
def test_a_browser_shows_it_without_complaint(finished, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here to open the report in")
    quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    page = (finished / "report.html").as_uri()
    done = subprocess.run(
        [browser, *quiet, f"--user-data-dir={tmp_path}", "--enable-logging=stderr", "--dump-dom", page],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    assert all(f'id="{section}"' in done.stdout for section in SECTIONS)


def test_every_scored_image_is_there_once_per_arm_with_what_was_said_of_it(finished):
    browser = image_browser(finished, read_evidence(finished))
    assert (browser.arms, browser.left_out, browser.any_heat, browser.any_lungs) == (["unsegmented", "segmented"], 0, True, True)
    for number, arm in enumerate(browser.arms):
        table = pd.read_csv(finished / arm / "predictions.csv").query("side == 'valid'").set_index("image")
        shown = [image for image in browser.images if image.arm == number]
        assert sorted(image.name for image in shown) == sorted(table.index)
        assert sum(not image.right for image in shown) == (table.label != table.predicted).sum()
        sure = table[[name for name in table if name.startswith("probability_")]].max(axis=1)
        order = [(image.right, sure[image.name] * (1 if image.right else -1)) for image in shown]
        assert order == sorted(order)
        for image in shown:
            label, predicted = table.loc[image.name, ["label", "predicted"]]
            assert image.text.startswith(f"{label}, called {predicted} (") and browser.classes[image.label] == label


def test_an_answer_stands_beside_the_map_of_the_fit_that_gave_it(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    evidence, arm = read_evidence(finished), run / "segmented"
    shutil.rmtree(run / "unsegmented")
    table, images = pd.read_csv(arm / "predictions.csv"), json.loads((arm / "thumbnails.json").read_text())["images"]
    (arm / "thumbnails.json").unlink()
    answers = []
    for number, answer in enumerate(evidence.recipe["data"]["classes"][:2]):
        (arm / f"seed{number}").mkdir()
        of_fit = {name: image | {"heat": answer} for name, image in list(images.items())[1:]}
        (arm / f"seed{number}" / "thumbnails.json").write_text(json.dumps({"images": of_fit}))
        answers.append(table.assign(fit=f"seed{number}", predicted=answer))
    pd.concat(answers).to_csv(arm / "predictions.csv", index=False)
    browser = image_browser(run, evidence)
    assert len(browser.images) == 2 * (len(images) - 1)
    assert all(f"called {image.thumbnail['heat']} (" in image.text for image in browser.images)
    assert browser.left_out == 2  # scored, and not among the thumbnails


def test_a_few_images_stand_under_every_explanation_with_their_agreement_in_words(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    evidence = read_evidence(run)
    for arm in explained_arms(run, evidence, images=True):
        table = pd.read_csv(run / arm.name / "explanations.csv")
        assert [image["text"].split(".")[0] for image in arm.images] == [
            f"{row.label}, called {row.predicted} (0" if row.confidence < 0.995 else f"{row.label}, called {row.predicted} (1"
            for row in table.itertuples()
        ]
        assert all(image["maps"].keys() == {*METHODS, RANDOM_WEIGHTS} and all(image["maps"].values()) for image in arm.images)
        pairs = table[[name for name in table if ", " in name and "random" not in name]]
        assert f"{pairs.mean().mean():.2f}" in arm.words or f"{pairs.stack().mean():.2f}" in arm.words
    page = render_report(evidence, run_checks(evidence), run, images=True)
    assert page.count('<figure class="explained">') == sum(len(arm.images) for arm in explained_arms(run, evidence, True)) > 2
    assert all(not arm.images and arm.words for arm in explained_arms(run, evidence, images=False))
    (run / "segmented" / "explanations.csv").write_text("image,label\n")
    assert [arm.name for arm in explained_arms(run, evidence, True)] == ["unsegmented"]


def test_images_without_room_are_counted_and_the_wrong_ones_stay(finished, monkeypatch):
    everything = image_browser(finished, read_evidence(finished))
    monkeypatch.setattr("darkcovid.report.image_browser.MAX_BYTES", 60_000)
    some = image_browser(finished, read_evidence(finished))
    assert 0 < len(some.images) < len(everything.images) == len(some.images) + some.left_out
    wrong = sum(not image.right for image in everything.images)
    assert sum(not image.right for image in some.images) == min(wrong, len(some.images))


def test_audit_arms_are_folded(finished):
    evidence = read_evidence(finished)
    arms = evidence.comparison.arms
    more = {**arms, **{f"audit_{number}": arms["segmented"] for number in range(9)}}
    page = render_report(replace(evidence, comparison=replace(evidence.comparison, arms=more)), run_checks(evidence))
    table, folded = page.index('<th scope="col">unsegmented</th>'), page.index("trained for the audit</summary>")
    assert table < folded < page.index('<th scope="col">audit_0</th>')
    assert page.count('<th scope="col">audit_8</th>') == 1


@pytest.fixture(scope="module")
def opened(finished):
    """The report in a browser, at the widths at which it is read."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here to open the report in")
    write_report(finished)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto((finished / "report.html").as_uri())
        yield page
        browser.close()


@pytest.mark.slow
@pytest.mark.parametrize("width", [400, 1100, 1600])
def test_nothing_hangs_over_the_page(opened, width):
    opened.set_viewport_size({"width": width, "height": 900})
    opened.evaluate("document.querySelectorAll('details').forEach((part) => (part.open = true))")
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    if width >= 1100:
        wide = "[...document.querySelectorAll('.scroll')].filter((part) => part.scrollWidth > part.clientWidth + 1).length"
        assert opened.evaluate(wide) == 0


@pytest.mark.slow
def test_images_are_chosen_without_a_script(opened, finished):
    table = pd.read_csv(finished / "segmented" / "predictions.csv").query("side == 'valid'")
    shown = opened.locator("figure.image:visible")
    opened.get_by_label("segmented", exact=True).check()
    assert shown.count() == len(table)
    opened.get_by_label("covid", exact=True).check()
    assert shown.count() == (table.label == "covid").sum()
    opened.get_by_label("wrong", exact=True).check()
    assert shown.count() == ((table.label == "covid") & (table.predicted != "covid")).sum()
    opened.get_by_label("right", exact=True).check()
    assert shown.count() == ((table.label == "covid") & (table.predicted == "covid")).sum()
    assert opened.locator("#browser .heat:visible").count() == shown.count() > 0
    opened.get_by_role("checkbox", name="Grad-CAM").uncheck()
    assert opened.locator("#browser .heat:visible").count() == 0
