"""A run's report as the board shows it: in a sandbox, and without radiographs unless they are asked for."""

from pathlib import Path

from darkcovid.core.errors import UsageError
from darkcovid.core.io import read_regular_text
from darkcovid.experiment.run_list import DAMAGE, read_run
from darkcovid.serving.responses import HTTPError

REPORT_HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
}


def report_page(run: Path, images: bool) -> str:
    """The page.

    Args:
        run: The run's folder.
        images: Whether radiographs are shown. Without them the page is made from the run's other files, since its
            `report.html` may have some; a sweep's has none.

    Returns:
        HTML.

    Raises:
        HTTPError: 404, the run has no report, or one that cannot be read.
    """
    try:
        if images or read_run(run).is_sweep:
            return read_regular_text(run / "report.html")
        if not (run / "report.html").is_file():
            raise HTTPError(404, "this run has no report; runs that are not finished have none, and those of lung segmenters")
        from darkcovid.audits.checks import run_checks
        from darkcovid.report.html import read_evidence, render_report

        evidence = read_evidence(run)
        return render_report(evidence, run_checks(evidence), run, images=False)
    except (*DAMAGE, UsageError):
        raise HTTPError(404, "this run's report cannot be read; `darkcovid report RUN` writes it again") from None
