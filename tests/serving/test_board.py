"""The board over real sockets and in a real browser: what it shows of runs, and that it shows nothing else."""

import io
import json
import os
import re
import shutil
import time
from datetime import UTC, datetime
from importlib.resources import files
from urllib.parse import quote

import numpy as np
import pytest
import requests
from PIL import Image
from playwright.sync_api import expect
from typer.testing import CliRunner

from darkcovid.cli import app
from darkcovid.metrics.paired_tests import mcnemar
from darkcovid.report.colors import PALETTE
from darkcovid.report.thumbnails import thumbnail, write_thumbnails
from darkcovid.serving.board.app import create_board
from darkcovid.serving.board.curves import arm_colors

from ..experiment.test_run_list import make_run
from .conftest import serving
from .test_page import CHROMIUM, browser  # noqa: F401 (a fixture)

TIMEOUT = 60
CLASSES = ("covid", "none")
SECRET = "a file outside of the runs"
in_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")


def finish(run, right, images=40):
    """Turn a run of `make_run` into one with predictions of the same images, of which those numbered in `right` are right."""
    from darkcovid.experiment.run_summary import write_run_summary

    arm = run / "whole"
    comparison = json.loads((run / "comparison.json").read_text())
    metrics = comparison["arms"]["whole"] | {"accuracy": len(right) / images}
    (arm / "metrics.json").write_text(json.dumps(metrics))
    (arm / "timing.json").write_text("{}")
    split, predictions = ["image,patient,label,side"], ["image,patient,side,label,predicted,probability_covid,probability_none"]
    for number in range(images):
        label = CLASSES[number % 2]
        p = 0.9 if (number in right) == (label == "covid") else 0.1
        split.append(f"{number}.png,p{number},{label},valid")
        predictions.append(f"{number}.png,p{number},valid,{label},{CLASSES[p < 0.5]},{p},{1 - p:.1f}")
    (arm / "split.csv").write_text("\n".join([*split, ""]))
    (arm / "predictions.csv").write_text("\n".join([*predictions, ""]))
    (arm / "history.csv").write_text("epoch,train_loss,valid_loss,accuracy,lr,seconds\n1,0.9,0.8,0.5,0.1,3\n2,0.5,,0.75,0.1,3\n")
    images = [(f"{number}.png", thumbnail(np.full((40, 30), number, np.uint8), None, None)) for number in range(30)]
    write_thumbnails(arm / "thumbnails.json", images)
    comparison["arms"]["whole"] = metrics
    (run / "comparison.json").write_text(json.dumps(comparison))
    write_run_summary(run, comparison, "With care: nothing failed, but 1 check (a) calls for caution.")
    (run / "report.html").write_text(f"<p>report of {run.name}</p><script>document.title = 'scripted'</script>")
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two finished runs on the same patients, a failed one and a running one."""
    folder = tmp_path_factory.mktemp("board") / "runs"
    finish(make_run(folder, number=1, day=1), right=range(38))
    second = finish(make_run(folder, "other", number=2, day=2), right=range(20))
    (second / "notes.json").write_text('{"tags": ["paper"], "note": "<b>bold</b>"}')
    make_run(folder, number=3, day=3, state="failed", reason="the loss is not a number")
    running = make_run(folder, number=4, day=4, state="running", time=datetime.now(UTC).isoformat(), pid=os.getpid())
    (running / "whole" / "history.csv").write_text("epoch,train_loss,valid_loss,accuracy\n1,0.9,0.8,0.5\n")
    return folder


@pytest.fixture(scope="module")
def board(runs):
    with serving(create_board(runs, hosts=("127.0.0.1",))) as address:
        yield address


TRIALS = [  # state, metric, learning rate, whether it is the plain recipe
    ("complete", 0.5, 1e-5, True),
    ("pruned", 0.4, 1e-2, False),
    ("complete", 0.8, 1e-3, False),
    ("failed", None, 1.0, False),
]


def make_sweep(folder, **options):
    """A sweep's folder as `darkcovid sweep` leaves it: four trials, of which the third is the best."""
    sweep = make_run(folder, "tiny-sweep", number=9, day=5, **options)
    (sweep / "study.db").write_bytes(b"")
    (sweep / "recipe.yaml").write_text("name: tiny-sweep\nsweep: {metric: balanced_accuracy, trials: 6}\n")
    lines = [
        {"event": "trial", "number": number, "state": state, "values": {"training.lr": lr}, "metric": metric,
         "seconds": 2.0, "folds": [], "plain": plain, "reason": "the loss is not a number" if state == "failed" else ""}
        for number, (state, metric, lr, plain) in enumerate(TRIALS, 1)
    ]  # fmt: skip
    (sweep / "events.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"event": "tri')
    return sweep


def names(runs):
    return {path.name[-1]: path.name for path in runs.iterdir()}


def get(address, path, **options):
    return requests.get(f"{address}{path}", timeout=TIMEOUT, **options)


def test_the_list_is_that_of_the_command(board, runs):
    shown = get(board, "/api/runs").json()
    printed = json.loads(CliRunner().invoke(app, ["runs", "list", str(runs), "--json"]).stdout)
    assert [{**run, "run_dir": f"{runs}/{run['name']}", "report": None} for run in shown["runs"]] == [
        run | {"report": None} for run in printed
    ]
    assert [run["status"] for run in shown["runs"]] == ["running", "failed", "done", "done"]
    assert [run["report"] for run in shown["runs"]] == [False, False, True, True]
    assert str(runs.parent) not in json.dumps(shown)


def test_what_did_not_change_is_not_sent_again_and_what_did_is(board, runs):
    run = runs / names(runs)["1"]
    for path in ("/api/runs", f"/api/runs/{run.name}/curves"):
        first = get(board, path)
        again = get(board, path, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
    (run / "notes.json").write_text('{"tags": ["new"], "note": ""}')
    changed = get(board, "/api/runs", headers={"If-None-Match": get(board, "/api/runs").headers["ETag"] + "x"})
    assert changed.json()["runs"][-1]["tags"] == ["new"]
    (run / "notes.json").unlink()
    assert get(board, "/api/runs").json()["runs"][-1]["tags"] == []


def test_curves_are_those_of_the_history(board, runs):
    (fit,) = get(board, f"/api/runs/{names(runs)['1']}/curves").json()["fits"]
    curves = {"train_loss": [0.9, 0.5], "valid_loss": [0.8, None], "accuracy": [0.5, 0.75]}
    unnamed = PALETTE[-1]  # the recipe names no arm `whole`
    assert fit == {"fit": "whole", "arm": "whole", "color": unnamed, "epochs": [1, 2], "curves": curves}
    assert get(board, f"/api/runs/{names(runs)['3']}/curves").json() == {"fits": []}


def test_arms_have_the_colors_of_their_report_and_one_color_in_all_runs(tmp_path):
    for name, arms in (("one", "{late: {}, early: {}}"), ("two", "{new: {}, early: {}}")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").write_text(f"name: tiny\narms: {arms}\nensemble: {{both: [late, early]}}\n")
    first = arm_colors([tmp_path / "one"])
    assert first == dict(zip(("late", "early", "both"), PALETTE, strict=False))
    both = arm_colors([tmp_path / "one", tmp_path / "two"])
    assert both == first | {"new": PALETTE[3]}
    script = (files("darkcovid.serving.board") / "page" / "curves.js").read_text()
    assert json.loads(re.search(r"COLORS = (\[.*\])", script)[1]) == list(PALETTE)


def test_runs_side_by_side_are_tested_on_the_same_patients(board, runs):
    by_number = names(runs)
    found = get(board, "/api/compare", params={"run": [by_number["1"], by_number["2"]]}).json()
    assert found["arms"] == ["1: whole", "2: whole"]
    assert dict(found["rows"])["accuracy"] == ["0.950", "0.500"]
    (pair,) = found["pairs"]
    assert (pair["only_reference"], pair["only_arm"], pair["p"]) == (18, 0, pytest.approx(mcnemar(18, 0)))
    assert pair["sentence"].startswith("2: whole was less accurate than 1: whole")
    assert found["not_comparable"] == []
    assert found["differences"] == {"name": ["tiny", "other"]}


def test_a_run_that_is_not_finished_is_compared_by_its_recipe_alone(board, runs):
    by_number = names(runs)
    found = get(board, "/api/compare", params={"run": [by_number["2"], by_number["4"]]}).json()
    assert found["arms"] == ["1: whole"] and found["pairs"] == []
    assert found["differences"] == {"name": ["other", "tiny"]}
    assert by_number["4"] in found["notes"][0]


def test_other_patients_are_named_as_such(board, runs):
    third = finish(make_run(runs, "few", number=5, day=5), right=range(5), images=10)
    try:
        found = get(board, "/api/compare", params={"run": [names(runs)["1"], third.name]}).json()
        assert "different patients" in found["not_comparable"][0] and found["pairs"] == []
    finally:
        shutil.rmtree(third)


def test_disagreements_are_counted_by_hand(board, runs):
    by_number = names(runs)
    arms = {"first": f"{by_number['1']}/whole", "second": f"{by_number['2']}/whole"}
    found = get(board, "/api/disagreements", params=arms).json()
    counts = {key: found[key] for key in ("images", "disagree", "both_right", "only_first", "only_second", "both_wrong")}
    assert counts == {"images": 40, "disagree": 18, "both_right": 20, "only_first": 18, "only_second": 0, "both_wrong": 2}
    assert {row["image"] for row in found["rows"]} == {f"{number}.png" for number in range(20, 38)}
    assert all(row["first"]["predicted"] == row["label"] != row["second"]["predicted"] for row in found["rows"])
    assert get(board, "/api/disagreements", params=arms | {"second": f"{by_number['2']}/absent"}).status_code == 404
    unfinished = get(board, "/api/disagreements", params=arms | {"second": f"{by_number['4']}/whole"})
    assert unfinished.status_code == 422 and "no finished arm" in unfinished.json()["error"]
    assert str(runs) not in unfinished.text


DAMAGE = [
    ("metrics.json", "[]"),
    ("metrics.json", '{"accuracy": 1}'),
    ("predictions.csv", "image\nx\n"),
    ("history.csv", "epoch,accuracy\ninf,1\n"),
    ("history.csv", "epoch,accuracy\n1," + "9" * 200_000 + "\n"),
    ("../recipe.yaml", "name: !!python/object:os.system {}"),
    ("../recipe.yaml", "- 1"),
    ("../comparison.json", "[]"),
    ("../comparison.json", '{"arms": {"whole": 5}}'),
    ("../label_errors.json", "[]"),
    ("thumbnails.json", '{"images": {"0.png": 5}}'),
]


@pytest.mark.parametrize(("file", "content"), DAMAGE)
def test_a_damaged_run_is_said_to_be_one_and_the_others_stay(tmp_path, runs, file, content):
    folder = tmp_path / "runs"
    _, damaged = (shutil.copytree(runs / names(runs)["1"], folder / name) for name in ("sound", "damaged"))
    (damaged / "whole" / file).write_text(content)
    paths = [
        "/api/runs/damaged",
        "/api/runs/damaged/curves",
        "/api/runs/damaged/thumbnail?arm=whole&image=0.png",
        "/api/compare?run=sound&run=damaged",
        "/api/disagreements?first=sound/whole&second=damaged/whole",
        "/reports/damaged",
    ]
    with serving(create_board(folder)) as address:
        assert {run["name"] for run in get(address, "/api/runs").json()["runs"]} == {"sound", "damaged"}
        for path in paths:
            assert get(address, path).status_code < 500, path


def test_a_sweep_shows_its_trials_and_once_it_is_done_its_winner(tmp_path):
    sweep = make_sweep(tmp_path, state="running", time=datetime.now(UTC).isoformat(), pid=os.getpid())
    with serving(create_board(tmp_path)) as address:
        found = get(address, f"/api/runs/{sweep.name}/trials").json()
        said = [(each["state"], each["metric"], each["values"]["training.lr"], each["plain"]) for each in found["trials"]]
        assert said == TRIALS
        assert (found["metric"], found["best"], found["planned"], found["final"]) == ("balanced_accuracy", 3, 6, [])
        assert get(address, "/api/runs").json()["runs"][0]["kind"] == "sweep"
        other = finish(make_run(tmp_path, number=1), right=range(38))
        assert get(address, f"/api/runs/{other.name}/trials").status_code == 404
        (sweep / "recipe.yaml").write_text("sweep: 5")
        arm = {"arm": "winner", "metric": 0.7, "interval": [0.6, 0.8], "mean": None, "sd": None, "accuracy": 0.7}
        result = {"metric": "log_loss", "trials": {"planned": 4}, "sentences": ["<b>"], "final": {"winner": arm},
                  "difference": None, "importance": {"training.lr": 1.0}, "final_run": f"/elsewhere/{other.name}"}  # fmt: skip
        (sweep / "sweep.json").write_text(json.dumps(result))
        found = get(address, f"/api/runs/{sweep.name}/trials").json()
        assert (found["best"], found["planned"], found["final_run"]) == (1, 4, other.name)  # of a loss the lowest is the best
        assert found["final"] == [{"role": "winner", "arm": "winner", "metric": 0.7, "interval": [0.6, 0.8]}]
        for damage in ("{", "[]", '{"final": 3, "sentences": 1}'):
            (sweep / "sweep.json").write_text(damage)
            damaged = get(address, f"/api/runs/{sweep.name}/trials").json()
            assert (len(damaged["trials"]), damaged["final"]) == (4, [])


@pytest.mark.parametrize("path", ["/api/compare", "/api/disagreements?first=a"])
def test_a_request_without_what_it_needs_is_refused_in_one_line(board, path):
    answer = get(board, path)
    assert answer.status_code == 422
    assert list(answer.json()) == ["error"] and "required" in answer.json()["error"]


def test_a_comparison_follows_what_changes(board, runs):
    third = finish(make_run(runs, "third", number=6, day=6), right=range(30))
    try:
        names_of = {"run": [names(runs)["1"], third.name]}
        assert get(board, "/api/compare", params=names_of).json()["differences"] == {"name": ["tiny", "third"]}
        recipe = third / "recipe.yaml"
        recipe.write_text(recipe.read_text().replace("name: third", "name: changed"))
        assert get(board, "/api/compare", params=names_of).json()["differences"] == {"name": ["tiny", "changed"]}
    finally:
        shutil.rmtree(third)


@pytest.mark.parametrize("count", [1, 7])
def test_too_few_and_too_many_are_refused_in_words(board, count):
    answer = get(board, "/api/compare", params={"run": [f"run{number}" for number in range(count)]})
    assert answer.status_code == 422 and "two to 6 runs" in answer.json()["error"]


ELSEWHERE = ["..", "../outside", "../runs", "/etc", ".", "", "outside", "linked-20260101T120000-0000000a", "x\0y", "..\\outside",
             "%2e%2e", "tiny-20260101T120000-00000001/whole", "tiny-20260101T120000-00000001/..", "x" * 5000]  # fmt: skip


@pytest.mark.parametrize("name", ELSEWHERE)
def test_no_name_leads_out_of_the_runs_folder(board, runs, name):
    outside = runs.parent / "outside"
    if not outside.exists():
        shutil.copytree(runs / names(runs)["1"], outside)
        (outside / "report.html").write_text(SECRET)
        (outside / "recipe.yaml").write_text(SECRET)
    link = runs / "linked-20260101T120000-0000000a"
    link.symlink_to(outside, target_is_directory=True)
    try:
        coded, twice = quote(name, safe=""), quote(quote(name, safe=""), safe="")
        for one in (name, coded, twice):
            for path in (f"/api/runs/{one}", f"/reports/{one}", f"/api/runs/{one}/curves", f"/{one}", f"/page/{one}"):
                answer = raw(board, path)
                assert SECRET not in answer.text
                assert answer.status_code in (400, 404, 414) or path.rstrip("/") in ("", "/api/runs", "/."), path
        other = f"{names(runs)['1']}/whole"
        for query in ({"run": [name, names(runs)["1"]]}, {"first": f"{name}/whole", "second": other}):
            answer = get(board, "/api/compare" if "run" in query else "/api/disagreements", params=query)
            assert answer.status_code in (404, 422) and SECRET not in answer.text
        assert link.name not in get(board, "/api/runs").text
    finally:
        link.unlink()


def raw(address, path):
    """A request whose path is sent as it stands, dots included."""
    import http.client
    from types import SimpleNamespace

    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=TIMEOUT)
    connection.putrequest("GET", "", skip_accept_encoding=True)
    connection._buffer[0] = f"GET {path} HTTP/1.1".encode("latin-1", "replace").replace(b"\0", b"%00")
    connection.endheaders()
    answer = connection.getresponse()
    return SimpleNamespace(status_code=answer.status, text=answer.read().decode())


def test_a_run_whose_tracker_left_a_link_is_shown(board, runs):
    run = next(
        folder for folder in runs.iterdir() if folder.is_dir() and not folder.is_symlink() and (folder / "report.html").is_file()
    )
    (run / "wandb").mkdir()
    (run / "wandb" / "latest-run").symlink_to("offline-run-1", target_is_directory=True)
    try:
        assert get(board, f"/api/runs/{run.name}").status_code == 200
    finally:
        shutil.rmtree(run / "wandb")


@pytest.mark.parametrize("place", ["report.html", "recipe.yaml", "whole/history.csv", "whole/predictions.csv", "whole"])
def test_no_link_inside_a_run_is_followed(board, runs, tmp_path, place):
    run = runs / names(runs)["2"]
    copy = runs / "copied-20260101T120000-0000000b"
    shutil.copytree(run, copy)
    outside = tmp_path / "outside"
    shutil.move(copy / place, outside)
    (copy / place).symlink_to(outside, target_is_directory=outside.is_dir())
    try:
        assert copy.name in get(board, "/api/runs").text
        for path in (f"/api/runs/{copy.name}", f"/reports/{copy.name}", f"/api/runs/{copy.name}/curves"):
            assert get(board, path).status_code == 403
        assert get(board, "/api/compare", params={"run": [run.name, copy.name]}).status_code == 403
    finally:
        shutil.rmtree(copy)


def test_it_only_reads(board, runs):
    def content():
        return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in sorted(runs.rglob("*")) if path.name != ".lock"}

    before, run = content(), names(runs)["1"]
    for path in ("/", "/api/runs", f"/api/runs/{run}", f"/api/runs/{run}/curves", f"/reports/{run}"):
        get(board, path)
        for verb in ("PUT", "DELETE", "PATCH"):
            assert requests.request(verb, f"{board}{path}", timeout=TIMEOUT).status_code == 405
    get(board, "/api/compare", params={"run": [run, names(runs)["2"]]})
    assert content() == before


def test_another_host_s_name_is_refused_and_headers_keep_the_page_to_itself(board):
    assert get(board, "/api/runs", headers={"Host": "evil.example"}).status_code == 400
    for path in ("/", "/board.js", "/api/runs", "/absent"):
        headers = get(board, path).headers
        assert "default-src 'none'" in headers["Content-Security-Policy"] and headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store" and "Access-Control-Allow-Origin" not in headers


def test_a_report_is_in_a_sandbox_and_radiographs_are_asked_for(board, runs):
    run = names(runs)["1"]
    assert get(board, f"/api/runs/{run}/thumbnail", params={"arm": "whole", "image": "0.png"}).status_code == 403
    with serving(create_board(runs, images=True)) as address:
        thumb = get(address, f"/api/runs/{run}/thumbnail", params={"arm": "whole", "image": "1.png"})
        assert Image.open(io.BytesIO(thumb.content)).size == (120, 160) and thumb.headers["Content-Type"] == "image/webp"
        answer = get(address, f"/reports/{run}")
        assert answer.text.startswith(f"<p>report of {run}")
        assert answer.headers["Content-Security-Policy"].startswith("sandbox")
        assert get(address, f"/reports/{names(runs)['3']}").status_code == 404
        assert get(address, f"/api/runs/{run}/thumbnail", params={"arm": "whole", "image": "../x"}).status_code == 404
    assert f"report of {run}" not in get(board, f"/reports/{run}").text


def test_a_token_and_its_cookie(runs):
    run = names(runs)["1"]
    with serving(create_board(runs, token="secret", images=True)) as address:
        for path in ("/api/runs", f"/api/runs/{run}", f"/reports/{run}", "/absent"):
            assert get(address, path).status_code == 401
            assert get(address, path, headers={"Authorization": "Bearer wrong"}).status_code == 401
            assert get(address, path, cookies={"darkcovid_board": "secret"}).status_code == 401
        assert requests.post(f"{address}/session", timeout=TIMEOUT).status_code == 401
        assert get(address, "/").status_code == get(address, "/board.js").status_code == 200
        session = requests.Session()
        opened = session.post(f"{address}/session", headers={"Authorization": "Bearer secret"}, timeout=TIMEOUT)
        assert opened.status_code == 204
        assert "HttpOnly" in opened.headers["Set-Cookie"] and "SameSite=strict" in opened.headers["Set-Cookie"]
        assert "secret" not in opened.headers["Set-Cookie"]
        assert session.get(f"{address}/reports/{run}", timeout=TIMEOUT).status_code == 200


def test_other_machines_are_let_in_with_a_token_only(runs, monkeypatch):
    monkeypatch.delenv("DARKCOVID_TOKEN", raising=False)
    done = CliRunner().invoke(app, ["board", str(runs), "--host", "0.0.0.0", "--port", "0"])
    assert done.exit_code and "--token-file" in str(done.exception)
    done = CliRunner().invoke(app, ["board", str(runs / "absent"), "--port", "0"])
    assert done.exit_code and "no folder of runs" in str(done.exception)


@pytest.fixture(params=[390, 1280])
def page(browser, board, request):  # noqa: F811
    page = browser.new_page(viewport={"width": request.param, "height": 900})
    page.asked, page.complaints = [], []
    page.on("request", lambda asked: page.asked.append(asked.url))
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    page.on("console", lambda message: page.complaints.append(message.text))
    page.goto(f"{board}/")
    page.locator("#rows tr").nth(3).wait_for()
    yield page
    assert page.evaluate("document.documentElement.scrollWidth") <= request.param
    assert not page.complaints
    assert all(url.startswith((board, "data:")) for url in page.asked), "the page asked another host"
    page.close()


@in_a_browser
@pytest.mark.slow
def test_the_table_sorts_and_filters(page):
    first = page.get_by_role("rowheader").first
    page.get_by_role("button", name="Accuracy").click()
    expect(page.get_by_role("columnheader", name="Accuracy")).to_have_attribute("aria-sort", "descending")
    expect(first).to_contain_text("00000001")
    page.get_by_role("button", name="Accuracy").press("Enter")
    expect(page.get_by_role("columnheader", name="Accuracy")).to_have_attribute("aria-sort", "ascending")
    expect(first).to_contain_text("00000002")
    page.get_by_label("Status").select_option("failed")
    expect(page.locator("#rows tr")).to_have_count(1)
    expect(first).to_contain_text("the loss is not a number")
    page.get_by_label("Status").select_option("")
    page.get_by_label("Search").fill("paper other")
    expect(page.locator("#rows tr")).to_have_count(1)
    expect(page.locator("#count")).to_have_text("1 of 4 runs: 1 running, 1 failed")
    page.get_by_role("link", name="other-20", exact=False).first.click()
    expect(page.get_by_role("heading", level=2)).to_be_focused()
    expect(page.locator("dd", has_text="<b>bold</b>")).to_be_visible()


@in_a_browser
@pytest.mark.slow
def test_the_list_fits_every_width(browser, board):  # noqa: F811
    page = browser.new_page()
    page.goto(f"{board}/")
    page.locator("#rows tr").nth(3).wait_for()
    for width in (390, 600, 768, 900, 1024, 1100, 1199, 1201, 1280, 1600):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        least = page.evaluate("Math.min(...[...document.querySelectorAll('#rows th')].map((name) => name.clientWidth))")
        assert least > 150, f"the names have {least} px at {width}"
        crowded = (
            "[...document.querySelectorAll('#headings th, #rows td')].filter((cell) => cell.scrollWidth > cell.clientWidth + 1)"
        )
        assert page.evaluate(f"{crowded}.map((cell) => cell.textContent)") == [], f"at {width}"
    page.close()


@in_a_browser
@pytest.mark.slow
def test_a_running_run_s_curves_grow(page, runs):
    history = runs / names(runs)["4"] / "whole" / "history.csv"
    before = history.read_text()
    page.get_by_role("link", name=names(runs)["4"]).click()
    expect(page.get_by_text("Running. whole: epoch 1")).to_be_visible()
    try:
        history.write_text(before + "2,0.5,0.6,0.875\n")
        expect(page.get_by_text("Running. whole: epoch 2")).to_be_visible()
        chart = page.get_by_role("img", name="accuracy: whole 0.875 at epoch 2")
        chart.focus()
        chart.press("ArrowLeft")
        expect(page.get_by_text("Epoch 1: whole 0.5")).to_be_attached()
    finally:
        history.write_text(before)


@in_a_browser
@pytest.mark.slow
def test_a_sweep_s_page_shows_trials_that_end_and_says_what_lies_aside(page, board, runs):
    sweep = make_sweep(runs, state="running", time=datetime.now(UTC).isoformat(), pid=os.getpid())
    try:
        page.goto(f"{board}/#run={sweep.name}")
        expect(page.get_by_text("Running. 4 trials have ended.")).to_be_visible()
        expect(page.get_by_text("4 of 6 trials: 2 complete, 1 pruned, 1 failed")).to_be_visible()
        table = page.get_by_role("region", name="Trials, the best first")
        expect(table.locator("tbody th")).to_have_text(["3", "1", "2", "4"])
        expect(page.get_by_text("scroll sideways").last).to_be_visible(visible=page.viewport_size["width"] < 600)
        chart = page.get_by_role("img", name="balanced accuracy: best so far 0.8 at trial 3; complete 0.8 at trial 3; pruned")
        chart.focus()
        chart.press("ArrowLeft")
        expect(page.get_by_text("Trial 2: best so far -, complete -, pruned, so far 0.4")).to_be_attached()
        with (sweep / "events.jsonl").open("a") as file:
            values = {"number": 5, "state": "complete", "values": {}, "metric": 0.9, "seconds": 1, "plain": False, "reason": ""}
            file.write("\n" + json.dumps({"event": "trial"} | values) + "\n")
        expect(table.locator("tbody th").first).to_have_text("5")
        expect(page.get_by_role("img", name="balanced accuracy")).to_be_focused()
        with (sweep / "events.jsonl").open("a") as file:
            file.write('{"event": "final_fits", "trial": 5}\n')
        expect(page.get_by_text("Running. 5 trials have ended. The best, trial 5, is fitted again")).to_be_visible()
    finally:
        shutil.rmtree(sweep)
        page.goto(f"{board}/")


@in_a_browser
@pytest.mark.slow
def test_a_change_moves_neither_the_focus_nor_the_page(page, runs):
    first, last = names(runs)["1"], names(runs)["2"]
    page.set_viewport_size({"width": page.viewport_size["width"], "height": 300})
    box = page.get_by_label(f"Compare {first}")
    box.focus()
    place = page.evaluate("scrollY")
    try:
        (runs / first / "notes.json").write_text('{"tags": ["seen"], "note": ""}')
        make_run(runs, "brand-new", number=7, day=1)
        expect(page.locator("#rows tr")).to_have_count(5)
        expect(page.locator("#rows").get_by_text("seen", exact=True)).to_be_attached()
        expect(box).to_be_focused()
        assert page.evaluate("scrollY") == pytest.approx(place, abs=1) and place > 0
        page.get_by_label(f"Compare {last}").check()
        expect(page.locator("#chosen-count")).to_contain_text("1 chosen")
    finally:
        (runs / first / "notes.json").unlink()
        shutil.rmtree(runs / names(runs)["7"])
    expect(page.locator("#rows tr")).to_have_count(4)


@in_a_browser
@pytest.mark.slow
def test_two_runs_are_compared_by_keyboard(page, runs):
    for number in "12":
        box = page.get_by_label(f"Compare {names(runs)[number]}")
        box.focus()
        box.press("Space")
    page.get_by_role("button", name="Compare", exact=True).press("Enter")
    expect(page.get_by_role("heading", name="2 runs side by side")).to_be_focused()
    expect(page.locator("mark")).to_have_text(["other"])
    expect(page.get_by_text("1: whole was less accurate").or_(page.get_by_text("2: whole was less accurate"))).to_be_visible()
    expect(page.get_by_text("18 of 40 answers differ")).to_be_visible()
    chosen = [page.get_by_label(name).evaluate("pick => pick.selectedOptions[0].text") for name in ("First arm", "Second arm")]
    assert chosen == ["1: whole", "2: whole"]
    expect(page.locator("img")).to_have_count(0)
    page.get_by_role("link", name="All runs").click()
    expect(page.get_by_label(f"Compare {names(runs)['1']}")).to_be_checked()


@in_a_browser
@pytest.mark.slow
def test_a_browser_opens_a_session_and_a_report_that_runs_no_script(browser, runs):  # noqa: F811
    with serving(create_board(runs, token="secret", images=True)) as address:
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{address}/")
        page.get_by_label("Token").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_contain_text("not the one")
        page.get_by_label("Token").fill("secret")
        page.keyboard.press("Enter")
        with context.expect_page() as opened:
            page.get_by_role("link", name=f"Report of {names(runs)['1']}").click()
        page.get_by_label(f"Compare {names(runs)['1']}").check()
        page.get_by_label(f"Compare {names(runs)['2']}").check()
        page.get_by_role("button", name="Compare", exact=True).click()
        thumbnails = page.get_by_role("img", name="Radiograph")
        thumbnails.first.scroll_into_view_if_needed()
        page.wait_for_function("document.querySelector('img.thumbnail').naturalWidth === 120")
        page.get_by_text("no thumbnail").last.scroll_into_view_if_needed()
        expect(opened.value.get_by_text("report of")).to_be_visible()
        assert opened.value.title() != "scripted"
        context.close()


@in_a_browser
@pytest.mark.slow
def test_a_thousand_runs_are_there_within_a_second(browser, runs, tmp_path):  # noqa: F811
    source = runs / names(runs)["1"]
    small = ("recipe.yaml", "environment.json", "status.json", "comparison.json", "summary.json")
    for number in range(1000):
        folder = tmp_path / f"many-2026{1 + number % 12:02}{1 + number % 28:02}T120000-{number:08x}"
        folder.mkdir()
        for name in small:
            shutil.copy(source / name, folder / name)
    board = create_board(tmp_path)
    board.state.board.index.runs()  # as the command does before it says that it is ready
    with serving(board) as address:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto("about:blank")
        started = time.monotonic()
        page.goto(f"{address}/", wait_until="commit")
        page.locator("#rows tr").nth(20).wait_for()
        first = time.monotonic() - started
        expect(page.locator("#rows tr")).to_have_count(1000)
        page.close()
    assert first < 1.0 * max(1.0, os.getloadavg()[0] / os.cpu_count())  # a machine that is busy otherwise is not the page's fault
