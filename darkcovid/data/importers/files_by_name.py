"""Where is the image that a table names? Tables write a path, a file name, or a name without its suffix."""

import unicodedata
from collections.abc import Sequence
from pathlib import PurePosixPath

from darkcovid.core.errors import DataError


class FilesByName:
    """The images of a folder, given by their relative paths, found by path, by name, or by name without suffix."""

    def __init__(self, files: Sequence[PurePosixPath]):
        self._known = {_nfc(path.as_posix()): path.as_posix() for path in files}
        self._by_name: dict[str, list[str]] = {}
        for path in files:
            for key in {_nfc(path.name), _nfc(path.stem)}:
                self._by_name.setdefault(key, []).append(path.as_posix())

    def find(self, written: str) -> str:
        """The path of the image that a table calls `written`, or `written` itself where no image has this name.

        Raises DataError: several images have this name.
        """
        given, written = written, _nfc(written.replace("\\", "/").removeprefix("./"))
        if written in self._known:
            return self._known[written]
        candidates = self._by_name.get(written.rpartition("/")[2], [])
        if "/" in written:  # a path, of which the folder may hold the end only, or which may stand below other folders
            candidates = [path for path in candidates if _ends_alike(_without_suffix(_nfc(path)), _without_suffix(written))]
        if len(candidates) > 1:
            first, second, *_ = candidates
            raise DataError(f"{written}: {len(candidates)} images are called so, such as {first} and {second}; write paths")
        return candidates[0] if candidates else given.replace("\\", "/").removeprefix("./")


def _nfc(text: str) -> str:
    """Unicode's composed form: a Mac writes an accent as a letter of its own."""
    return unicodedata.normalize("NFC", text)


def _without_suffix(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    return folder + slash + (name.rpartition(".")[0] or name)


def _ends_alike(path: str, written: str) -> bool:
    return f"/{path}".endswith(f"/{written}") or f"/{written}".endswith(f"/{path}")
