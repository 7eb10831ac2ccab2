"""Nothing that is written, said or sent has a password of an address."""

import sys

import pytest

from darkcovid.cli.train import resume_command
from darkcovid.core.credentials import without_credentials
from darkcovid.core.environment import current_environment


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://ann:secret@host:5000/a", "http://***@host:5000/a"),
        ("--tracking-uri=https://secret@host", "--tracking-uri=https://***@host"),
        ("postgresql+psycopg2://ann:se@cret/secret@host/db", "postgresql+psycopg2://***@host/db"),
        ("no answer of http://ann:secret@host or 'http://bob:secret@host'", "no answer of http://***@host or 'http://***@host'"),
        ('{"a":"http://ann:secret@host","mail":"b@host"}', '{"a":"http://***@host","mail":"b@host"}'),
        ("https://host/db?user=a&access_token=secret&x=1", "https://host/db?user=a&access_token=***&x=1"),
    ],
)
def test_credentials_are_masked(text, shown):
    assert without_credentials(text) == shown


@pytest.mark.parametrize("text", ["http://host:5000/a", "sqlite:////home/a@b/m.db", "mail b@host", "a: b, c@d", ""])
def test_other_text_stays(text):
    assert without_credentials(text) == text


def test_neither_the_command_that_is_written_nor_the_one_that_is_shown_has_them(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["darkcovid", "run", "segmented", "--tracking-uri", "http://ann:secret@host", "--resume"])
    assert current_environment().command == ["darkcovid", "run", "segmented", "--tracking-uri", "http://***@host", "--resume"]
    assert "***@host" in resume_command() and "secret" not in resume_command()
