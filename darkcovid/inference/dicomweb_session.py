"""How a DICOMweb server is spoken to: answers end, in bytes and in time, and no request goes where a server would lead it."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from darkcovid.core.errors import DarkCovidError, DataError, one_line
from darkcovid.core.log import logger

TOKEN = "DARKCOVID_DICOMWEB_TOKEN"
LIST_BYTES, IMAGE_BYTES = 16 << 20, 512 << 20  # of one answer, once it is decompressed
LIST_SECONDS, IMAGE_SECONDS = 120.0, 900.0  # from a request to its answer's last byte
CHUNK = 1 << 16


class TooLarge(requests.RequestException):
    """An answer has more bytes than are accepted."""


class BoundedSession(requests.Session):
    """A session whose answers are read whole, up to a size and a time, and which follows no redirect.

    A redirect would take study UIDs, and with 307 or 308 the images of patients, to another host; of a POST others make a GET, so
    that nothing is stored and the answer is a page.
    """

    def __init__(self) -> None:
        super().__init__()
        for scheme in ("http://", "https://"):
            self.mount(scheme, _BoundedAdapter())

    def request(self, method: Any, url: Any, *args: Any, **options: Any) -> requests.Response:
        """requests': one request, and its answer, read.

        Args:
            method: `GET` or `POST`.
            url: Of what is asked for.
            *args: As requests takes them.
            **options: As requests takes them; `allow_redirects` is always off.

        Returns:
            The answer.

        Raises:
            requests.Timeout: The answer is not whole in time.
            TooLarge: It has too many bytes.
            requests.TooManyRedirects: It is a redirect.
        """
        options["allow_redirects"] = False
        done: list[requests.Response | BaseException] = []

        def ask() -> None:
            try:
                done.append(super(BoundedSession, self).request(method, url, *args, **options))
            except BaseException as error:  # noqa: BLE001 (raised where the answer is waited for)
                done.append(error)

        # A thread, since a header or a chunk that comes byte by byte ends no timeout of a socket
        reading = threading.Thread(target=ask, daemon=True)
        reading.start()
        reading.join(_limits(method, options.get("headers"))[1])
        answer = done[0] if done else requests.Timeout()
        if isinstance(answer, BaseException):
            raise answer
        if 300 <= answer.status_code < 400:
            raise requests.TooManyRedirects(response=answer)
        return answer


class _BoundedAdapter(HTTPAdapter):
    def send(self, request: Any, stream: Any = True, **options: Any) -> requests.Response:
        size, seconds = _limits(request.method, request.headers)
        until = time.monotonic() + seconds
        response = super().send(request, stream=True, **options)
        parts, count = [], 0
        try:
            with response:
                for part in response.iter_content(CHUNK):
                    count += len(part)
                    if count > size:
                        raise TooLarge
                    if time.monotonic() > until:
                        raise requests.Timeout
                    parts.append(part)
        except requests.ConnectionError:  # requests' name for a body that stops coming
            raise requests.Timeout from None
        response._content = b"".join(parts)
        return response


def _limits(method: str, headers: Mapping[str, str] | None) -> tuple[int, float]:
    """Bytes and seconds: few of a list in JSON, more where an image comes or goes."""
    listed = "json" in str((headers or {}).get("Accept"))
    return LIST_BYTES if listed else IMAGE_BYTES, LIST_SECONDS if listed and method == "GET" else IMAGE_SECONDS


@contextmanager
def said_in_one_line(service: str) -> Iterator[None]:
    """What goes wrong with a server as an error that says what to do.

    Args:
        service: Its address, without credentials.

    Raises:
        DataError: It has no such study, or does not speak DICOMweb.
        DarkCovidError: It does not answer, or refuses.
    """
    try:
        yield
    except DarkCovidError:
        raise
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            advice = f"write USER:PASSWORD@ before the host in the address, or set {TOKEN}"
            raise DarkCovidError(f"{service}: the server refuses access ({status}); {advice}") from None
        if status in (404, 410):
            raise DataError(f"{service}: the server has no such study or service ({status}); check the address") from None
        raise DarkCovidError(f"{service}: the server answers with status {status}; see its log") from None
    except requests.TooManyRedirects:
        advice = "write the address of the DICOMweb service itself"
        raise DarkCovidError(f"{service}: the server redirects, and data is not sent elsewhere; {advice}") from None
    except TooLarge:
        advice = f"accepted are {LIST_BYTES >> 20} MB of a list, {IMAGE_BYTES >> 20} MB of an image"
        raise DarkCovidError(f"{service}: the answer is too large; {advice}") from None
    except requests.Timeout:
        raise DarkCovidError(f"{service}: the server does not answer in time; try again later") from None
    except requests.exceptions.ChunkedEncodingError:
        raise DarkCovidError(f"{service}: the server's answer breaks off; try again later") from None
    except requests.ConnectionError:
        raise DarkCovidError(f"{service}: no server answers there; check the address, and that the server runs") from None
    except (requests.JSONDecodeError, requests.exceptions.ContentDecodingError) as error:
        raise _not_dicomweb(service, error) from None
    except requests.RequestException as error:
        raise DarkCovidError(f"{service}: the request failed ({type(error).__name__}); check the address") from None
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 (an answer that is no DICOM fails in many ways, none of which is ours)
        raise _not_dicomweb(service, error) from None


def _not_dicomweb(service: str, error: Exception) -> DataError:
    logger.debug(f"{service}: {type(error).__name__}: {one_line(error)[:400]}")
    return DataError(f"{service}: this is no DICOMweb server, or its answer is damaged; check the address")
