"""What a person says of a run: tags and a note, in a `notes.json` of its own, so that nothing that the run wrote is touched."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import filelock

from darkcovid.core.errors import DataError, UsageError, one_line
from darkcovid.core.io import write_json
from darkcovid.experiment.run_state import read_json_mapping

FILE = "notes.json"
TAG = re.compile(r"\w[\w.:/+-]{0,39}")
MAX_TAGS, MAX_NOTE = 50, 10_000


@dataclass(frozen=True, slots=True)
class Notes:
    """tags: sorted names; note: a text of any lines."""

    tags: tuple[str, ...] = ()
    note: str = ""


def read_notes(run: Path) -> Notes:
    """The notes of a run.

    Args:
        run: Its folder.

    Returns:
        The notes; empty ones where it has none.

    Raises:
        OSError, ValueError, TypeError: The file cannot be read.
    """
    try:
        read = read_json_mapping(run / FILE)
    except FileNotFoundError:
        return Notes()
    tags, note = read.get("tags", []), read.get("note", "")
    if not isinstance(note, str) or not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise TypeError("not tags and a note")
    return Notes(tuple(tags), note)


def change_tags(run: Path, added: Sequence[str] = (), removed: Sequence[str] = ()) -> Notes:
    """Add tags to a run, and remove others.

    Args:
        run: Its folder.
        added: Tags; those that it has already stay.
        removed: Tags.

    Returns:
        The notes as they are now.

    Raises:
        UsageError: A tag is not a word, there are too many, or one that is to be removed is not there.
        DataError: The notes cannot be read.
    """
    for tag in added:
        if not TAG.fullmatch(tag):
            raise UsageError(f"tag {tag!r}: use one word of at most 40 letters, digits and . : / + - _")
    with _locked(run):
        before = _read(run)
        absent = [tag for tag in removed if tag not in before.tags]
        if absent:
            raise UsageError(f"{run}: no tag {absent[0]!r}; it has: {', '.join(before.tags) or 'none'}")
        tags = tuple(sorted({*before.tags, *added} - set(removed)))
        if len(tags) > MAX_TAGS:
            raise UsageError(f"{run}: {len(tags)} tags; at most {MAX_TAGS} per run")
        return _write(run, Notes(tags, before.note))


def set_note(run: Path, note: str) -> Notes:
    """Write a run's note in place of the one it has.

    Args:
        run: Its folder.
        note: The text; '' removes it.

    Returns:
        The notes as they are now.

    Raises:
        UsageError: The text is too long.
        DataError: The notes cannot be read.
    """
    if len(note) > MAX_NOTE:
        raise UsageError(f"{run}: a note of {len(note)} letters; at most {MAX_NOTE}")
    with _locked(run):
        return _write(run, Notes(_read(run).tags, note))


def _locked(run: Path) -> filelock.BaseFileLock:
    """Two people may tag at once."""
    return filelock.FileLock(run / ".notes.lock")


def _read(run: Path) -> Notes:
    try:
        return read_notes(run)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{run / FILE}: cannot be read ({one_line(error)}); remove it to start again") from None


def _write(run: Path, notes: Notes) -> Notes:
    write_json(run / FILE, asdict(notes))
    return notes
