"""What is told on stderr."""

import logging

import pytest

from darkcovid.core import log


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize("verbose", [False, True])
def test_a_terminal_obeys_nothing_that_a_library_logs(capsys, monkeypatch, quiet, verbose):
    monkeypatch.setattr(log.console, "quiet", False)
    root = logging.getLogger()
    before, level, ours = root.handlers[:], root.level, log.logger.level
    try:
        log.configure_logging(quiet, verbose)
        logging.getLogger("some.library").warning("299 \x1b[31mred\x1b[0m \u202eback \x9b1m größer")
    finally:
        logging.basicConfig(handlers=before, level=level, force=True)
        log.logger.setLevel(ours)
    said = capsys.readouterr().err
    assert "red" in said and "größer" in said and not set("\x1b\u202e\x9b") & set(said)
