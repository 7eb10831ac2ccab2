"""Fetching a manifest's images from the addresses it records, each checked against its checksum."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import pooch

from darkcovid.data.manifest import Manifest
from darkcovid.errors import one_line
from darkcovid.paths import user_cache_dir


def fetch(manifest: Manifest, folder: Path | None = None, say: Callable[[str], None] = print) -> list[tuple[str, str]]:
    """Download what is missing into `folder` (the user's cache by default); returns (path, why) of what could not be had.

    Only http and https addresses are followed, and a file whose checksum differs from the manifest's is not kept.
    """
    folder = folder or user_cache_dir() / "data"
    failed = []
    missing = [row for row in manifest.rows.to_dict("records") if manifest.locate(row["path"]) is None]
    for number, row in enumerate(missing, 1):
        fault = _fetch_one(row, folder)
        if fault:
            failed.append((row["path"], fault))
        say(f"{number}/{len(missing)} {row['path']}: {fault or 'fetched'}")
    return failed


def _fetch_one(row: dict[str, str], folder: Path) -> str | None:
    if not row["url"]:
        return "the manifest has no address for it"
    if urlsplit(row["url"]).scheme not in ("http", "https"):
        return "its address is neither http nor https"
    target = folder / PurePosixPath(row["path"])
    known = f"sha256:{row['sha256']}" if row["sha256"] else None
    try:
        pooch.retrieve(row["url"], known_hash=known, fname=target.name, path=target.parent, progressbar=False)
    except (OSError, ValueError) as error:
        return one_line(error)
    return None
