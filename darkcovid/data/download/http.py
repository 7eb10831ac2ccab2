"""One file from one address: checked, resumed where it was interrupted, tried again when a server fails, and never from where a
redirect should not lead.

pooch has no resuming, no second try and follows any redirect; the requests are made by the library `requests`.
"""

import ipaddress
import os
import random
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import SplitResult, urljoin, urlsplit

import requests

from darkcovid.core.errors import DarkCovidError, one_line
from darkcovid.core.io import sha256_file

BLOCK_BYTES = 1 << 13  # what is lost when a connection breaks off
REDIRECTS = 5
RETRY_STATUSES = {408, 425, 429, 500, 502, 503, 504}
MAX_WAIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class DownloadPolicy:
    """How a server is treated.

    Attributes:
        seconds: That it may be silent.
        tries: Of a file.
        pause: Seconds before the second try, doubled for each later one.
        most_bytes: Of a file whose length is not known.
    """

    seconds: float = 30.0
    tries: int = 5
    pause: float = 0.5
    most_bytes: int = 1 << 31


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file to be downloaded.

    Attributes:
        url: Its address.
        target: Where it goes.
        sha256: '' where it is not known.
        length: Bytes; None where it is not known.
    """

    url: str
    target: Path
    sha256: str = ""
    length: int | None = None


class DownloadError(DarkCovidError):
    """Trying again would change nothing."""


class TransientDownloadError(DarkCovidError):
    """This try failed; another may not.

    Attributes:
        wait: Seconds that the server asked for.
    """

    wait = 0.0


class ChecksumMismatch(TransientDownloadError):
    """The file that came has another checksum than the one recorded."""


def download(
    remote: RemoteFile, policy: DownloadPolicy = DownloadPolicy(), on_bytes: Callable[[int], None] = lambda count: None
) -> int:
    """Fetch a file to its place.

    What came of it before a failure stays beside the target as `.<name>.part`, and is resumed when its checksum is known.

    Args:
        remote: The file.
        policy: Timeouts, tries and limits.
        on_bytes: Called with the bytes of every block, and with what was in vain as a negative number.

    Returns:
        Its length in bytes.

    Raises:
        DownloadError: Why it cannot be had, in one line.
    """
    part = remote.target.with_name(f".{remote.target.name}.part")
    remote.target.parent.mkdir(parents=True, exist_ok=True)
    if not remote.sha256:
        part.unlink(missing_ok=True)
    on_bytes(_size(part))
    different = 0
    for number in range(1, policy.tries + 1):
        try:
            _attempt(remote, part, policy, on_bytes)
            break
        except TransientDownloadError as error:
            different += isinstance(error, ChecksumMismatch)
            if number == policy.tries or different > 1:
                raise DownloadError(f"{error} ({number} tries)" if number > 1 else str(error)) from None
            pause = policy.pause * 2 ** (number - 1)
            time.sleep(min(MAX_WAIT_SECONDS, max(error.wait, pause * random.uniform(0.75, 1.25))))
    length = _size(part)
    part.replace(remote.target)
    return length


def is_downloaded(remote: RemoteFile) -> bool:
    """Whether the file is in its place, with the recorded checksum."""
    return remote.target.is_file() and remote.sha256.lower() in ("", sha256_file(remote.target))


def _attempt(remote: RemoteFile, part: Path, policy: DownloadPolicy, on_bytes: Callable[[int], None]) -> None:
    try:
        with requests.Session() as session, _open_stream(session, remote.url, _size(part), policy) as answer:
            _save_stream(answer, remote, part, policy, on_bytes)
    except ValueError:  # requests' errors about an address are of this kind too
        raise DownloadError("its address cannot be read") from None
    except (requests.RequestException, TimeoutError, ConnectionError) as error:
        raise TransientDownloadError(_describe_error(error)) from None
    except OSError as error:
        raise DownloadError(f"cannot be written ({error.strerror or one_line(error)})") from None
    if remote.sha256 and sha256_file(part) != remote.sha256.lower():
        on_bytes(-_size(part))
        part.unlink()
        raise ChecksumMismatch("its checksum is not the one recorded")


def _open_stream(session: requests.Session, url: str, have: int, policy: DownloadPolicy) -> requests.Response:
    """The server's answer after redirects, whose every step is looked at first."""
    headers = {"Range": f"bytes={have}-"} if have else {}
    headers["Accept-Encoding"] = "identity"  # a length that is the file's own
    check_scheme(url)
    for _ in range(REDIRECTS + 1):
        answer = session.get(url, headers=headers, stream=True, allow_redirects=False, timeout=policy.seconds)
        if not answer.is_redirect:
            return answer
        answer.close()
        target = answer.headers["location"]
        check_redirect(url, urljoin(url, target) if _parts(target) else target)
        url = urljoin(url, target)
    raise DownloadError(f"its address leads through more than {REDIRECTS} redirects")


def check_scheme(url: str) -> None:
    """Refuse an address that is neither http nor https.

    Raises:
        DownloadError: It is neither.
    """
    if _parts(url).scheme not in ("http", "https"):
        raise DownloadError("its address is neither http nor https")


def check_redirect(url: str, target: str) -> None:
    """Refuse a redirect that the manifest did not ask for.

    Args:
        url: The address that was asked.
        target: Where it redirects to.

    Raises:
        DownloadError: Another scheme, from https to http, or an address of this machine or its network.
    """
    was, now = _parts(url), _parts(target)
    if now.scheme not in ("http", "https") or (was.scheme, now.scheme) == ("https", "http"):
        raise DownloadError(f"it is redirected to {now.scheme or 'nowhere'}, which is not followed")
    if now.hostname != was.hostname and (now.hostname is None or is_local(now.hostname)):
        raise DownloadError(f"it is redirected to {now.hostname}, a local address")


def _parts(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise DownloadError("its address cannot be read") from None


def is_local(host: str) -> bool:
    """Whether any address of a host is not on the public internet. A name without one is not."""
    try:
        addresses = socket.getaddrinfo(host, None)
    except (OSError, UnicodeError):
        return False
    return any(not ipaddress.ip_address(str(address[4][0]).split("%")[0]).is_global for address in addresses)


def _save_stream(
    answer: requests.Response, remote: RemoteFile, part: Path, policy: DownloadPolicy, on_bytes: Callable[[int], None]
) -> None:
    have = _size(part)
    _check_response(answer, have)
    continues = answer.status_code == requests.codes.partial_content
    if have and (not continues or answer.status_code == requests.codes.requested_range_not_satisfiable):
        on_bytes(-have)
        part.unlink()
        have = 0
    if answer.status_code == requests.codes.requested_range_not_satisfiable:
        raise TransientDownloadError("the server has less of it than was fetched before")
    limit = policy.most_bytes if remote.length is None else remote.length
    with part.open("ab") as file:
        for block in answer.iter_content(BLOCK_BYTES):
            have += len(block)
            if have > limit:
                file.close()
                part.unlink()
                raise DownloadError(f"it is longer than {limit} bytes, {_host_of(remote)}")
            file.write(block)
            on_bytes(len(block))
        file.flush()
        os.fsync(file.fileno())
    if remote.length is not None and have < remote.length:
        raise TransientDownloadError(f"interrupted after {have} of {remote.length} bytes")


def _check_response(answer: requests.Response, have: int) -> None:
    """Refuse an answer that is not the file, or not what follows the bytes that there are."""
    status = f"the server answered {answer.status_code} {answer.reason}"
    if answer.status_code in RETRY_STATUSES:
        error = TransientDownloadError(status)
        asked = answer.headers.get("retry-after", "")
        error.wait = float(asked) if asked.isdecimal() else 0.0
        raise error
    beyond = answer.status_code == requests.codes.requested_range_not_satisfiable and have
    if answer.status_code not in (requests.codes.ok, requests.codes.partial_content) and not beyond:
        raise DownloadError(status)
    starts = answer.headers.get("content-range", "").startswith(f"bytes {have}-")
    if answer.status_code == requests.codes.partial_content and not starts:
        raise TransientDownloadError("the server sent another part of it than was asked for")


def _host_of(remote: RemoteFile) -> str:
    return "the most that is taken" if remote.length is None else "its length in the manifest"


def _describe_error(error: Exception) -> str:
    """requests' long sentences in a few words."""
    if isinstance(error, requests.Timeout | TimeoutError):
        return "the server was silent too long"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was interrupted"
    if isinstance(error, requests.ConnectionError | ConnectionError):
        return "no connection" if "Read timed out" not in str(error) else "the server was silent too long"
    return one_line(error)[:200]


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def confined_path(remote: RemoteFile, folder: Path) -> RemoteFile:
    """The same file with a target that was checked to lie in a folder.

    Args:
        remote: The file.
        folder: Where it must go.

    Returns:
        The file, its target without links on the way.

    Raises:
        DownloadError: The target lies outside, by a link on the way.
    """
    place = remote.target.parent.resolve() / remote.target.name
    if not place.is_relative_to(folder.resolve()) or remote.target.is_symlink():
        raise DownloadError(f"its place lies outside {folder}")
    return replace(remote, target=place)
