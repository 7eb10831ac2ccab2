"""A person watching a fetch: a bar of bytes on a terminal, lines in a log; on stderr, and without importing torch."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars

from darkcovid.core import log
from darkcovid.data.download.fetch import DownloadListener, DownloadResult
from darkcovid.report.duration import duration


class FetchProgress:
    """A fetch: a bar of bytes with the time left on a terminal, a line for each file in a log."""

    def __init__(self, console: Console | None = None):
        self.console = console or log.console
        self.done = self.files = self.came = 0
        self.length: int | None = None
        columns = [
            TextColumn("{task.fields[files]}"),
            BarColumn(12),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        ]
        self.bars = Bars(*columns, console=self.console, disable=not self.console.is_terminal)

    @contextmanager
    def watching(self) -> Iterator[DownloadListener]:
        """A context in which a fetch is shown.

        Yields:
            What `fetch` tells.
        """
        with self.bars:
            yield DownloadListener(self._begin, self._bytes, self._file)

    def _begin(self, files: int, length: int | None) -> None:
        self.files, self.length, self.began = files, length, time.monotonic()
        self.task = self.bars.add_task("", total=length, files=f"0/{files} files")

    def _bytes(self, count: int) -> None:
        self.came += count
        self.bars.update(self.task, advance=count)

    def _file(self, fetched: DownloadResult) -> None:
        self.done += 1
        self.bars.update(self.task, files=f"{self.done}/{self.files} files")
        if fetched.fault or not self.console.is_terminal:
            what = fetched.fault or f"fetched, {decimal(fetched.length)}"
            self.console.print(f"{self.done}/{self.files} {fetched.path}: {what}{self._left()}", markup=False)

    def _left(self) -> str:
        """`; 12.0 MB of 40.0 MB, 5 min 27 s left`, where lengths are known and some are to come."""
        if not self.length or not 0 < self.came < self.length:
            return ""
        seconds = (time.monotonic() - self.began) * (self.length - self.came) / self.came
        return f"; {decimal(self.came)} of {decimal(self.length)}, {duration(seconds)} left"
