"""Fetching a manifest's images from the addresses it records: several at a time, each checked against its checksum."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import filelock

from darkcovid.core.errors import DarkCovidError, UsageError
from darkcovid.core.io import user_cache_dir
from darkcovid.data.download.http import DownloadError, DownloadPolicy, RemoteFile, confined_path, download
from darkcovid.data.manifest import Manifest

MAX_CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """What became of one file: its path in the manifest, the bytes it has, and why it could not be had, or None."""

    path: str
    length: int
    fault: str | None


@dataclass(frozen=True)
class DownloadListener:
    """Who is told of a fetch: `begin(files, bytes)` what there is to do (None: some lengths are not known), `bytes(count)` as
    they come, `file(fetched)` each file when it ended."""

    begin: Callable[[int, int | None], None] = lambda files, length: None
    bytes: Callable[[int], None] = lambda count: None
    file: Callable[[DownloadResult], None] = lambda fetched: None


def fetch(
    manifest: Manifest,
    folder: Path | None = None,
    watcher: DownloadListener = DownloadListener(),
    policy: DownloadPolicy = DownloadPolicy(),
) -> list[DownloadResult]:
    """Download what is missing; what was interrupted is resumed by the next call.

    Only http and https addresses are followed, and a file whose checksum differs from the manifest's is not kept.

    Args:
        manifest: Whose rows have a `url`.
        folder: Where files go; None: the user's cache.
        watcher: Told of what is fetched.
        policy: Timeouts, tries and limits.

    Returns:
        What became of each file, in order.

    Raises:
        UsageError: Another fetch is at work in the folder, or it cannot be written.
    """
    folder = folder or user_cache_dir() / "data"
    manifest = Manifest(manifest.rows, (*manifest.roots, folder))
    missing = [row for row in manifest.rows.to_dict("records") if manifest.locate(row["path"]) is None]
    lengths = [length for length in map(_length, missing) if length is not None]
    with exclusive_download(folder):
        watcher.begin(len(missing), sum(lengths) if len(lengths) == len(missing) else None)

        def one(row: dict[str, str]) -> DownloadResult:
            fetched = _fetch_one(row, folder, policy, watcher.bytes)
            watcher.file(fetched)
            return fetched

        with ThreadPoolExecutor(MAX_CONNECTIONS) as pool:
            try:
                return list(pool.map(one, missing))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _fetch_one(row: dict[str, str], folder: Path, policy: DownloadPolicy, on_bytes: Callable[[int], None]) -> DownloadResult:
    target = folder / PurePosixPath(row["path"])
    try:
        if not row["url"]:
            raise DownloadError("the manifest has no address for it")
        remote = confined_path(RemoteFile(row["url"], target, row.get("sha256", ""), _length(row)), folder)
        return DownloadResult(row["path"], download(remote, policy, on_bytes), None)
    except DarkCovidError as error:
        return DownloadResult(row["path"], 0, str(error))
    except OSError as error:
        return DownloadResult(row["path"], 0, f"cannot be written ({error.strerror})")


def _length(row: dict[str, str]) -> int | None:
    text = row.get("bytes", "")
    return int(text) if text.isdecimal() else None


@contextmanager
def exclusive_download(folder: Path) -> Iterator[None]:
    """Nobody else fetches into the folder meanwhile. Raises UsageError: somebody does, or it cannot be written."""
    lock = filelock.FileLock(folder / ".fetch.lock", blocking=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        raise UsageError(f"{folder}: another fetch is at work there; wait for it, or stop it first") from None
    except OSError as error:
        raise UsageError(f"--output {folder}: cannot be written ({error.strerror})") from None
    try:
        yield
    finally:
        lock.release()
