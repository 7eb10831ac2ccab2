"""The runs of a folder, read once and again only where a file of theirs has changed; and no way to a file outside that folder."""

import os
import stat
import threading
from pathlib import Path

from darkcovid.experiment.run_list import RunInfo, read_run, run_folders, sort_runs
from darkcovid.experiment.run_state import RUNNING, is_run_folder
from darkcovid.experiment.trackers import OF_TRACKERS
from darkcovid.serving.responses import HTTPError

WATCHED_FILES = (
    ".",
    "status.json",
    "events.jsonl",
    "summary.json",
    "comparison.json",
    "notes.json",
    "recipe.yaml",
    "report.html",
)
MAX_DEPTH = 4  # of folders inside a run: arm, fit, plots

Signature = tuple[tuple[int, int] | None, ...]


class RunIndex:
    """The runs of a folder, as `runs list` reads them.

    Args:
        runs_dir: The folder of all runs.
    """

    def __init__(self, runs_dir: Path):
        self.runs_dir = runs_dir
        self._known: dict[Path, tuple[Signature, RunInfo]] = {}
        self._lock = threading.Lock()

    def runs(self) -> list[RunInfo]:
        """Every run, the newest first.

        Raises:
            UsageError: The folder cannot be read.
        """
        with self._lock:
            known = {}
            for folder in run_folders(self.runs_dir):
                signature, before = run_signature(folder), self._known.get(folder)
                unchanged = before is not None and before[0] == signature and before[1].status != RUNNING
                known[folder] = before if unchanged and before else (signature, read_run(folder))
            self._known = known
            return sort_runs([run for _, run in known.values()], "time")

    def folder(self, name: str) -> Path:
        """The folder of a run.

        Args:
            name: As a client names it.

        Returns:
            A folder directly inside the folder of all runs, with no link in it.

        Raises:
            HTTPError: 404, there is no such run; 403, it holds a link, which may lead out of the folder.
        """
        folder = self.runs_dir / name
        if (
            not name
            or name.startswith(".")
            or Path(name).name != name
            or "\\" in name
            or "\0" in name
            or not is_run_folder(folder)
        ):
            raise HTTPError(404, "no such run in this folder; it may have been removed")
        check_no_links(folder)
        return folder


def check_no_links(run: Path) -> None:
    """Refuse a run in which a link could lead elsewhere.

    Args:
        run: Its folder.

    Raises:
        HTTPError: 403, there is a symbolic link, or something that is neither a file nor a folder.
    """
    folders = [(os.fspath(run), 0)]
    while folders:
        path, depth = folders.pop()
        try:
            entries = list(os.scandir(path))
        except OSError:
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if depth < MAX_DEPTH and (depth or entry.name not in OF_TRACKERS):
                    folders.append((entry.path, depth + 1))
            elif not entry.is_file(follow_symlinks=False):
                where = Path(entry.path).relative_to(run)
                raise HTTPError(403, f"{run.name}: {where} is a symbolic link or no file, so the board opens nothing of this run")


def run_signature(folder: Path) -> Signature:
    """When the files that tell a run were written, and how long they are.

    Args:
        folder: The run's.

    Returns:
        Equal as long as none of them changes; each epoch of a running fit changes `events.jsonl`.
    """
    signature = []
    for name in WATCHED_FILES:
        try:
            about = (folder / name).lstat()
            signature.append((about.st_mtime_ns, about.st_size if stat.S_ISREG(about.st_mode) else 0))
        except OSError:
            signature.append(None)
    return tuple(signature)
