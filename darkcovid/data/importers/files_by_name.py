"""Where is the image that a table names? Tables write a path, a file name, or a name without its suffix."""

from pathlib import Path

from darkcovid.core.errors import DataError
from darkcovid.data.image_folders import walk_images


class FilesByName:
    """The images of a folder, found by path, by name, or by name without suffix."""

    def __init__(self, folder: Path):
        self.paths = [path.relative_to(folder).as_posix() for path in walk_images(folder)[0]]
        self._known = set(self.paths)
        self._by_name: dict[str, list[str]] = {}
        for path in self.paths:
            name = path.rpartition("/")[2]
            for key in {name, name.rpartition(".")[0] or name}:
                self._by_name.setdefault(key, []).append(path)

    def find(self, written: str) -> str:
        """The path of the image that a table calls `written`, or `written` itself where no image has this name.

        Raises DataError: several images have this name.
        """
        written = written.replace("\\", "/").removeprefix("./")
        if written in self._known:
            return written
        candidates = self._by_name.get(written.rpartition("/")[2], [])
        ending = [path for path in candidates if path.endswith("/" + written)] or candidates
        if len(ending) > 1:
            raise DataError(
                f"{written}: {len(ending)} images have this name, such as {ending[0]} and {ending[1]}; write their paths"
            )
        return ending[0] if ending else written
