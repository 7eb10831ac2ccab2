"""Radiographs from a DICOMweb server (QIDO-RS, WADO-RS), and results to one (STOW-RS; PS3.18), by dicomweb-client.

An address may have a user and password (`https://user:password@host/dicom-web`); without them the token in
DARKCOVID_DICOMWEB_TOKEN is sent, where there is one, else what the user's netrc file has. None of them is shown.
"""

import os
import re
import secrets
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from darkcovid.core.credentials import without_credentials
from darkcovid.core.errors import DarkCovidError, DataError, UsageError
from darkcovid.core.io import atomic_path
from darkcovid.core.log import logger
from darkcovid.data.dicom_tags import NO_RADIOGRAPHS
from darkcovid.inference.dicomweb_session import TOKEN, BoundedSession, said_in_one_line
from darkcovid.inference.image_files import ImageRef

SECONDS = (10.0, 60.0)  # to connect, and to wait for an answer
MOST_IMAGES = 1000
RADIOGRAPHS = ("CR", "DX", "RG", "")  # and not OT: the captures of this very command
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
MODALITY, SOP_INSTANCE, SERIES, STUDY = "00080060", "00080018", "0020000E", "0020000D"


@dataclass(frozen=True)
class DicomWebAddress:
    """service: address of the server, without user and password; study, series, instance: UIDs, None where they are not named."""

    service: str
    user: str | None
    password: str | None
    study: str | None = None
    series: str | None = None
    instance: str | None = None

    def of_study(self, study: str) -> "DicomWebAddress":
        """The same address, of a study.

        Raises:
            UsageError: No valid UID.
        """
        if not _is_uid(study):
            raise UsageError(f"{self.service}: {study[:80]!r} is not a DICOM UID")
        return replace(self, study=study)

    def client(self) -> Any:
        """A `DICOMwebClient` with these credentials.

        Raises:
            DarkCovidError: The extra is not installed.
        """
        try:
            from dicomweb_client.api import DICOMwebClient
        except ImportError:
            raise DarkCovidError("DICOMweb needs dicomweb-client; install `darkcovid[dicom]`") from None
        client = DICOMwebClient(self.service, self.session(), timeout=SECONDS)
        client.set_http_retry_params(retry=False)  # it tries again for a minute where nobody listens
        return client

    def session(self) -> BoundedSession:
        """A session with these credentials."""
        session, token = BoundedSession(), os.environ.get(TOKEN)
        if self.user is not None:
            session.auth = self.user, self.password or ""
        elif token:
            session.headers["Authorization"] = f"Bearer {token}"
            session.auth = _keep_header  # else a netrc file would replace it
        return session


def is_address(target: str) -> bool:
    """Whether a word of the command line is a web address."""
    return target.lower().startswith(("http://", "https://"))


def parse_address(address: str) -> DicomWebAddress:
    """A DICOMweb address, of a service or of a study, series or instance of it.

    Args:
        address: `https://host/dicom-web`, and what may follow: `/studies/UID/series/UID/instances/UID`.

    Returns:
        Its parts.

    Raises:
        UsageError: Not such an address.
    """
    wrong = f"{without_credentials(address)}: not a DICOMweb address; write https://HOST/PATH/studies/UID"
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise UsageError(wrong) from None
    if not host or parts.query or parts.fragment or parts.scheme not in ("http", "https"):
        raise UsageError(wrong)
    path, _, resource = parts.path.partition("/studies/")
    words = f"studies/{resource}".strip("/").split("/") if resource else []
    named = dict(zip(words[::2], words[1::2], strict=False))
    if len(words) % 2 or list(named) != ["studies", "series", "instances"][: len(words) // 2]:
        raise UsageError(wrong)
    for uid in named.values():
        if not _is_uid(uid):
            raise UsageError(f"{without_credentials(address)}: {uid[:80]} is not a DICOM UID")
    service = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{path.rstrip('/')}"
    user, password = (None if text is None else unquote(text) for text in (parts.username, parts.password))
    return DicomWebAddress(service, user, password, *(named.get(word) for word in ("studies", "series", "instances")))


@contextmanager
def fetched_radiographs(address: str) -> Iterator[list[ImageRef]]:
    """The radiographs of a study, series or instance, in a folder that is removed afterwards.

    Args:
        address: As `parse_address` takes it, with a study.

    Yields:
        Name and file of each; the file is None where it could not be had.

    Raises:
        UsageError: The address names no study, or more than 1,000 images.
        DataError: There is no such study, or no radiograph in it.
        DarkCovidError: The server does not answer, refuses, or does not speak DICOMweb.
    """
    parsed = parse_address(address)
    if parsed.study is None:
        raise UsageError(f"{parsed.service}: names no study; add /studies/UID, so that no other patient's images are fetched")
    client = parsed.client()
    instances = listed_instances(client, parsed)
    with tempfile.TemporaryDirectory(prefix="darkcovid-dicomweb-") as folder:
        yield [_fetch(client, parsed.service, instance, Path(folder)) for instance in instances]


def listed_instances(client: Any, parsed: DicomWebAddress) -> list[tuple[str, str, str]]:
    """The radiographs of a study, series or instance, by QIDO-RS.

    Args:
        client: Of the address.
        parsed: An address with a study.

    Returns:
        UIDs of study, series and instance of each.

    Raises:
        UsageError: More than 1,000 images.
        DataError: There is no such study, or no radiograph in it.
        DarkCovidError: As `fetched_radiographs` does.
    """
    with said_in_one_line(parsed.service):
        listed = client.search_for_instances(parsed.study, parsed.series, fields=[MODALITY], limit=MOST_IMAGES + 1)
        instances = list(_radiographs(listed, parsed))
    if len(instances) > MOST_IMAGES:
        raise UsageError(f"{parsed.service}: more than {MOST_IMAGES} images; name a series")
    if not instances:
        raise DataError(f"{parsed.service}: study {parsed.study} has no such radiograph; check its UIDs")
    return instances


def retrieve(client: Any, service: str, instance: tuple[str, str, str], file: Path) -> str | None:
    """Fetch one image by WADO-RS.

    Args:
        client: Of the service.
        service: For messages.
        instance: UIDs of study, series and instance.
        file: Where it goes; whole or not at all.

    Returns:
        Why it could not be had; None where it came.

    Raises:
        DarkCovidError: As `fetched_radiographs` does.
    """
    try:
        with warnings.catch_warnings(), said_in_one_line(service), atomic_path(file) as temporary:
            warnings.simplefilter("ignore")
            sent = client.retrieve_instance(*instance)
            _check_same(sent, instance, service)
            sent.save_as(temporary, enforce_file_format=True)
    except DataError as error:
        return str(error)
    return None


def _check_same(sent: Any, instance: tuple[str, str, str], service: str) -> None:
    if any(str(sent.get(keyword)) != uid for keyword, uid in zip(UIDS, instance, strict=True)):
        raise DataError(f"{service}: sends another image than {instance[2]}, which was asked for; it is not used")


def store_results(address: str, files: Sequence[Path]) -> None:
    """Send DICOM files to a server.

    Args:
        address: Of the service.
        files: What to send; nothing where there are none.

    Raises:
        DataError: The answer is not that of a DICOMweb server.
        DarkCovidError: The server does not answer, refuses, or does not say that it kept each of them.
    """
    import pydicom

    parsed = parse_address(address)
    session, of_study = parsed.session(), f"/{parsed.study}" if parsed.study else ""
    for file in files:
        uid, boundary = str(pydicom.dcmread(file, stop_before_pixels=True).SOPInstanceUID), secrets.token_hex(16)
        body = b"\r\n".join(
            [f"--{boundary}\r\nContent-Type: application/dicom\r\n".encode(), file.read_bytes(), f"--{boundary}--\r\n".encode()]
        )
        kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
        with said_in_one_line(parsed.service):
            headers = {"Content-Type": kind, "Accept": "application/dicom+json"}
            answer = session.post(f"{parsed.service}/studies{of_study}", body, headers=headers, timeout=SECONDS)
            answer.raise_for_status()
            kept, failure = _said_of_store(answer, uid)
        if not kept:
            raise DarkCovidError(f"{parsed.service}: did not keep {file}{failure}; see the server's log")


def _said_of_store(answer: Any, uid: str) -> tuple[bool, str]:
    """Whether a STOW-RS answer names an instance among those that are kept, and ` (failure CODE)` where it says one."""
    import pydicom

    if answer.headers.get("Content-Type", "").split(";")[0].strip().lower() not in ("application/dicom+json", "application/json"):
        raise ValueError("no JSON")
    said = answer.json()
    said = pydicom.Dataset.from_json(said[0] if isinstance(said, list) else said)
    kept = {str(each.get("ReferencedSOPInstanceUID")) for each in said.get("ReferencedSOPSequence") or ()}
    reasons = [each.get("FailureReason") for each in said.get("FailedSOPSequence") or ()]
    return uid in kept and not reasons, f" (failure {int(reasons[0]):04X})" if reasons and reasons[0] is not None else ""


def _radiographs(listed: Any, parsed: DicomWebAddress) -> Iterator[tuple[str, str, str]]:
    """(study, series, instance) of every listed radiograph; of an instance that is named, whatever may be one."""
    for item in listed:
        uids = [str(item.get(tag, {}).get("Value", [""])[0]) for tag in (STUDY, SERIES, SOP_INSTANCE)]
        uids[0] = uids[0] or str(parsed.study)
        modality = str((item.get(MODALITY, {}).get("Value") or [""])[0]).upper()
        right = uids[0] == parsed.study and parsed.series in (None, uids[1]) and parsed.instance in (None, uids[2])
        kind = modality not in NO_RADIOGRAPHS if parsed.instance else modality in RADIOGRAPHS
        if right and kind and all(map(_is_uid, uids)):
            yield uids[0], uids[1], uids[2]


def _fetch(client: Any, service: str, instance: tuple[str, str, str], folder: Path) -> ImageRef:
    name = f"{instance[2]}.dcm"
    fault = retrieve(client, service, instance, folder / name)
    if fault:
        logger.warning(fault)
    return ImageRef(name, None if fault else folder / name)


def _is_uid(text: str) -> bool:
    """Whether it is valid (PS3.5 9.1), and so also a file's name."""
    return len(text) <= 64 and re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))*", text, re.ASCII) is not None


def _keep_header(request: Any) -> Any:
    return request
