"""The page in a real browser: Chromium, headless, where one is installed."""

import shutil

import pytest

from ..data.test_dicom import dataset, written
from .conftest import served

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine; `apt-get install chromium` brings one"),
]


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

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
    assert page.locator("#answer").inner_text().startswith(f"{best}, ")
    assert page.evaluate("document.activeElement.id") == "answer"
    assert page.evaluate("document.getElementById('picture').naturalWidth") == 96
    assert page.get_by_role("progressbar").count() == 3


def test_a_radiograph_that_is_chosen_before_the_models_are_listed_waits_for_them(browser, server, radiograph):
    page = browser.new_page()
    held = []
    page.route("**/v1/models", lambda route: held.append(route))
    page.goto(f"{server}/")
    upload(page, radiograph)
    page.get_by_text("Asking the model about").wait_for()
    assert not page.locator("#result").is_visible()
    held[0].continue_()
    page.locator("#result:not([hidden])").wait_for()
    assert page.locator("#bars tr.best").count() == 1
    page.close()


def test_the_slider_and_the_outline(page, radiograph):
    upload(page, radiograph)
    page.locator("#result:not([hidden])").wait_for()
    slider = page.get_by_label("Where the network looked")
    slider.focus()
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    assert page.locator("#heat").evaluate("image => image.style.opacity") == "0.5"
    page.get_by_label("Lung outline").uncheck()
    assert page.locator("#lungs").is_hidden()


def test_a_bad_file_is_answered_in_words(page, radiograph, tmp_path):
    bad = tmp_path / "notes.png"
    bad.write_text("no picture")
    upload(page, bad)
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert "not a PNG, JPEG or DICOM image" in alert.inner_text()
    upload(page, radiograph)
    page.locator("#result:not([hidden])").wait_for()
    assert alert.is_hidden()


def test_a_dicom_and_a_dropped_file(page, tmp_path):
    file = tmp_path / "x.dcm"
    file.write_bytes(written(dataset()))
    upload(page, file)
    page.locator("#result:not([hidden])").wait_for()
    assert page.evaluate("document.getElementById('picture').naturalWidth") == 64
    page.evaluate("""() => {
        const data = new DataTransfer();
        data.items.add(new File(["x"], "dropped.png"));
        document.getElementById("drop").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true }));
    }""")
    page.get_by_role("alert").wait_for()


def test_the_card_and_another_model(page):
    page.get_by_text("Model card").click()
    assert "never a diagnosis" in page.locator("#caution").inner_text()
    assert "crop around the lungs" in page.locator("#card").inner_text()
    page.get_by_label("Model", exact=True).select_option("whole")
    page.get_by_text("whole image").wait_for()


def test_nothing_hangs_over_on_a_phone(page, radiograph):
    page.set_viewport_size({"width": 360, "height": 740})
    upload(page, radiograph)
    page.locator("#result:not([hidden])").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_the_keyboard_reaches_everything(page):
    page.locator("#file").wait_for()
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
        page.get_by_role("alert").wait_for(state="hidden")
        assert page.locator("#model option").all_inner_texts() == ["segmented"]
        page.close()
