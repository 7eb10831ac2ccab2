"""An archive becomes a folder: a ZIP or TAR with nothing in it that could be written elsewhere, or the arrays of MedMNIST as
images."""

import gzip
import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from darkcovid.core.errors import DataError, UsageError, one_line
from darkcovid.data.medmnist import write_medmnist

ZIP, NPZ = ".zip", ".npz"
TAR = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
SPARE_BYTES = 1 << 28  # that stay free on the disk
CHUNK_BYTES = 1 << 20
FILE_TYPE, LINK = 0o170000, 0o120000
ENCRYPTED = 1
DAMAGED_ARCHIVE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, gzip.BadGzipFile, EOFError)
DAMAGE = (*DAMAGED_ARCHIVE, RuntimeError, ValueError)

OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive.

    Attributes:
        path: Its path in it, POSIX.
        size: In bytes, unpacked.
        is_link: Whether it is a link, a device or the like instead.
        open: Opens its content.
    """

    path: str
    size: int
    is_link: bool
    open: Callable[[], AbstractContextManager[IO[bytes]]]


class StrictTarInfo(tarfile.TarInfo):
    """A header of a TAR; tarfile takes one that is damaged, or missing at the end, for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tarfile_: tarfile.TarFile) -> "StrictTarInfo":
        """tarfile's: the next header.

        Raises:
            ReadError: It is damaged or missing.
        """
        try:
            return super().fromtarfile(tarfile_)
        except tarfile.HeaderError as error:
            if type(error).__name__ == "EOFHeaderError":  # the blocks of zeros at the end
                raise
            raise tarfile.ReadError(f"a header is damaged or missing: {error}") from None


def archive_suffix(path: Path) -> str | None:
    """The suffix by which a path is an archive that can be unpacked, such as `.tar.gz`; None where it is none."""
    name = path.name.lower()
    return next((suffix for suffix in (ZIP, NPZ, *TAR) if name.endswith(suffix) and name != suffix), None)


def unpack(archive: Path, folder: Path, on_progress: OnProgress = lambda done, total: None) -> None:
    """Unpack an archive into a new folder, whole or not at all.

    Args:
        archive: A `.zip`, `.tar` (also compressed), or a `.npz` of MedMNIST.
        folder: The new folder; its parent exists.
        on_progress: Called with the number of bytes written, and of all.

    Raises:
        UsageError: `folder` exists, or the archive does not.
        DataError: The archive is damaged or encrypted, needs more space than is free, or holds a link or a path that leads out of
            it.
    """
    if not archive.is_file():
        raise UsageError(f"{archive}: no such file")
    if folder.exists():
        raise UsageError(f"{folder}: it exists already; import this folder, or remove it to unpack {archive.name} again")
    incomplete = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(incomplete, ignore_errors=True)
    try:
        if archive_suffix(archive) == NPZ:
            write_medmnist(archive, incomplete, on_progress)
        else:
            with _members(archive) as members:
                _write_members(archive, members, incomplete, on_progress)
        incomplete.rename(folder)
    finally:
        shutil.rmtree(incomplete, ignore_errors=True)


@contextmanager
def _members(archive: Path) -> Iterator[list[Member]]:
    """The files of an archive, each of which stays inside the folder."""
    with _in_one_line(archive):
        open_archive = zipfile.ZipFile if archive_suffix(archive) == ZIP else partial(tarfile.open, tarinfo=StrictTarInfo)
        opened = open_archive(archive)
    with opened:
        with _in_one_line(archive):
            members = _of_zip(opened) if isinstance(opened, zipfile.ZipFile) else _of_tar(opened)
        if not members:
            raise DataError(f"{archive}: there is no file in it")
        for member in members:
            path = PurePosixPath(member.path)
            if not path.parts:
                raise DataError(f"{archive}: {member.path!r} is no name of a file; nothing was unpacked")
            if path.is_absolute() or ".." in path.parts or ":" in path.parts[0] or "\0" in member.path:
                raise DataError(f"{archive}: {member.path!r} leads out of the archive; nothing was unpacked")
            if member.is_link:
                raise DataError(f"{archive}: {member.path!r} is a link or a device, not a file; nothing was unpacked")
        if isinstance(opened, zipfile.ZipFile) and any(member.flag_bits & ENCRYPTED for member in opened.infolist()):
            raise DataError(f"{archive}: it is encrypted; unpack it yourself and import the folder")
        twice = [path for path, count in Counter(member.path.casefold() for member in members).items() if count > 1]
        if twice:
            names = sorted({member.path for member in members if member.path.casefold() == twice[0]})
            raise DataError(f"{archive}: {' and '.join(names)}: one name for two files; nothing was unpacked")
        yield members


def _of_zip(archive: zipfile.ZipFile) -> list[Member]:
    infos = [info for info in archive.infolist() if not info.filename.endswith(("/", "\\"))]
    return [
        Member(
            info.filename.replace("\\", "/"),
            info.file_size,
            (info.external_attr >> 16) & FILE_TYPE == LINK,
            partial(archive.open, info),
        )
        for info in infos
    ]


def _of_tar(archive: tarfile.TarFile) -> list[Member]:
    infos = [info for info in archive.getmembers() if not info.isdir()]
    return [Member(info.name, info.size, not info.isfile(), partial(_extracted, archive, info)) for info in infos]


def _extracted(archive: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    content = archive.extractfile(info)
    if content is None:
        raise tarfile.TarError("not a file")
    return content


def _write_members(archive: Path, members: list[Member], folder: Path, on_progress: OnProgress) -> None:
    total = sum(member.size for member in members)
    check_space(archive, total, folder.parent)
    done = 0
    for member in members:
        target = folder / member.path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as file:
                for chunk in _chunks(archive, member):
                    file.write(chunk)
                    done += len(chunk)
                    on_progress(done, total)
        except OSError as error:
            raise DataError(f"{archive}: {member.path!r} cannot be written ({error.strerror}); nothing was unpacked") from None


def _chunks(archive: Path, member: Member) -> Iterator[bytes]:
    """A member's content, never more than it is said to have."""
    left = member.size
    with _in_one_line(archive), member.open() as content:
        while left:
            chunk = content.read(min(CHUNK_BYTES, left))
            if not chunk:
                raise EOFError(f"{member.path!r} ends early")
            left -= len(chunk)
            yield chunk
        content.read(1)  # checks the checksum


def check_space(archive: Path, needed: int, folder: Path) -> None:
    """Look whether a folder's disk has the space for an archive.

    Args:
        archive: For the message.
        needed: In bytes.
        folder: Where it will be unpacked.

    Raises:
        DataError: It has not.
    """
    free = shutil.disk_usage(folder).free
    if needed > free - SPARE_BYTES:
        raise DataError(f"{archive}: unpacked it has {needed / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB free")


@contextmanager
def _in_one_line(archive: Path) -> Iterator[None]:
    try:
        yield
    except NotImplementedError as error:
        raise DataError(f"{archive}: {one_line(error)}; unpack it with another program and import the folder") from None
    except DAMAGE as error:
        raise DataError(f"{archive}: not a sound archive ({one_line(error)}); download it again") from None
