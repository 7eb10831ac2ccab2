"""The page in a real browser: Chromium, headless, where one is installed."""

import re
import shutil

import pytest
from playwright.sync_api import expect, sync_playwright

from ..data.test_dicom import dataset, written
from .conftest import served

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; `apt-get install chromium` brings one"),
]


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser, server):
    page = browser.new_page(viewport={"width": 1000, "height": 900})
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(f"{server}/")
    yield page
    assert all(url.startswith((server, "data:")) for url in page.asked), "the page asked another host"
    page.close()


@pytest.fixture
def radiograph(phantom_files):
    return next(iter(phantom_files.values()))


def upload(page, file):
    page.get_by_label("Frontal chest radiograph").set_input_files(file)


def test_a_radiograph_is_explained(page, radiograph):
    upload(page, radiograph)
    page.locator("#result:not([hidden])").wait_for()
    shares = [float(text.rstrip(" %")) for text in page.locator("#bars td:last-child").all_inner_texts()]
    assert sum(shares) == pytest.approx(100, abs=0.3)
    best = page.locator("#bars tr.best th").inner_text()
    expect(page.locator("#answer")).to_have_text(
        re.compile(rf"^({best}, [\d.]+ %|Not sure: .* or .*|Not like the training images)$", re.IGNORECASE)
    )
    expect(page.locator("#answer")).to_be_focused()
    page.wait_for_function("document.getElementById('picture').naturalWidth === 96")
    expect(page.get_by_role("progressbar")).to_have_count(3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"answer": "covid", "class_set": ["covid"]}, r"^Covid, [\d.]+ %$"),
        ({"answer": "not sure", "class_set": ["covid", "no_finding"]}, "^Not sure: Covid or No finding$"),
        ({"answer": "not sure", "class_set": []}, "^Not sure$"),
        ({"answer": "not like the training images"}, "^Not like the training images$"),
    ],
)
def test_the_answer_is_a_class_or_says_why_there_is_none(browser, server, radiograph, change, said):
    shares = {"covid": 0.6, "no_finding": 0.3, "pneumonia": 0.1}
    dot = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="
    pictures = {"picture": dot, "lungs": dot, "heat": dot}
    explanation = {"label": "covid", "probabilities": shares, "class_set": [], "lungs_trusted": True, "warnings": []}
    page = browser.new_page()
    page.route("**:explain", lambda route: route.fulfill(json={"explanations": [explanation | pictures | change]}))
    page.goto(f"{server}/")
    upload(page, radiograph)
    page.locator("#result:not([hidden])").wait_for()
    expect(page.locator("#answer")).to_have_text(re.compile(said, re.IGNORECASE))
    page.close()


def test_a_radiograph_that_is_chosen_before_the_models_are_listed_waits_for_them(browser, server, radiograph):
    page = browser.new_page()
    held = []
    page.route("**/v1/models", lambda route: held.append(route))
    page.goto(f"{server}/")
    upload(page, radiograph)
    page.get_by_text("Asking the model about").wait_for()
    expect(page.locator("#result")).to_be_hidden()
    held[0].continue_()
    page.locator("#result:not([hidden])").wait_for()
    expect(page.locator("#bars tr.best")).to_have_count(1)
    page.close()


def test_the_slider_and_the_outline(page, radiograph):
    upload(page, radiograph)
    page.locator("#result:not([hidden])").wait_for()
    slider = page.get_by_label("Where the network looked")
    slider.focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    expect(page.locator("#heat")).to_have_css("opacity", "0.5")
    page.get_by_label("Lung outline").uncheck()
    expect(page.locator("#lungs")).to_be_hidden()


def test_explanations_are_compared_on_request(page, radiograph):
    expect(page.get_by_role("button", name="Compare")).to_be_hidden()
    upload(page, radiograph)
    page.get_by_role("button", name="Compare").click()
    page.locator("#agreement:not(:empty)").wait_for()
    expect(page.locator("#methods figcaption")).to_have_text(["Grad-CAM", "occlusion", "RISE", "integrated gradients"])
    expect(page.locator("#agreement")).to_contain_text("the weights")
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    upload(page, {"name": "other.png", "mimeType": "image/png", "buffer": radiograph.read_bytes()})
    expect(page.locator("#methods figure")).to_have_count(0)


def test_a_bad_file_is_answered_in_words(page, radiograph, tmp_path):
    bad = tmp_path / "notes.png"
    bad.write_text("no picture")
    upload(page, bad)
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("not a PNG, JPEG or DICOM image")
    upload(page, radiograph)
    page.locator("#result:not([hidden])").wait_for()
    expect(alert).to_be_hidden()


def test_a_dicom_and_a_dropped_file(page, tmp_path):
    file = tmp_path / "x.dcm"
    file.write_bytes(written(dataset()))
    upload(page, file)
    page.locator("#result:not([hidden])").wait_for()
    page.wait_for_function("document.getElementById('picture').naturalWidth === 64")
    page.evaluate("""() => {
        const data = new DataTransfer();
        data.items.add(new File(["x"], "dropped.png"));
        document.getElementById("drop").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
    }""")
    page.get_by_role("alert").wait_for()


def test_the_card_and_another_model(page):
    page.get_by_text("Model card").click()
    expect(page.locator("#caution")).to_contain_text("never a diagnosis")
    expect(page.locator("#card")).to_contain_text("crop around the lungs")
    page.get_by_label("Model", exact=True).select_option("whole")
    page.get_by_text("whole image").wait_for()


def test_nothing_hangs_over_on_a_phone(page, radiograph):
    page.set_viewport_size({"width": 360, "height": 740})
    upload(page, radiograph)
    page.locator("#result:not([hidden])").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_keyboard_reaches_everything(page):
    expect(page.locator("#model option")).to_have_text(["segmented", "whole"])
    reached = set()
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"model", "file", "SUMMARY"} <= reached


def test_a_token_is_asked_for_when_one_is_needed(browser, fitted_run):
    with served(fitted_run / "segmented", DARKCOVID_TOKEN="secret") as (_, address):
        page = browser.new_page()
        page.goto(f"{address}/")
        page.get_by_role("alert").wait_for()
        page.get_by_label("Token").fill("secret")
        page.keyboard.press("Tab")
        expect(page.get_by_role("alert")).to_be_hidden()
        expect(page.locator("#model option")).to_have_text(["segmented"])
        page.close()
