"""The style of reports, in a real browser: a table that goes on to the right says so, without a script."""

import shutil

import pytest
from jinja2 import Environment, PackageLoader
from playwright.sync_api import sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize(("width", "shown"), [(400, "block"), (1100, "none")])
def test_a_table_that_is_wider_than_the_page_says_so(width, shown):
    style = Environment(loader=PackageLoader("darkcovid.report"), autoescape=True).get_template("style.html.j2").render()
    cells = "".join(f"<td>column{number}</td>" for number in range(6))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 400})
        page.set_content(f"{style}<div class='scroll'><table><tr>{cells}</tr></table></div>")
        page.wait_for_timeout(200)
        assert page.evaluate("getComputedStyle(document.querySelector('.scroll'), '::before').display") == shown
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
