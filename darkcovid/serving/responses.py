"""What every answer has in common: JSON, errors in one line, the token, and headers that keep a page to itself."""

import hmac

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class HTTPError(Exception):
    """The request is wrong: an HTTP status and one line that says why."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers or {}


def json_response(value: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """`value` as a JSON response.

    Args:
        value: Anything that orjson writes.
        status: HTTP status code.
        headers: Headers beside the content type.

    Returns:
        The response.
    """
    return Response(orjson.dumps(value), status, headers, "application/json")


def add_error_responses(app: FastAPI) -> None:
    """Answer every error as JSON, `{"error": ...}`, one line; of one that nobody expected only the log says why.

    Args:
        app: The application.
    """
    for kind in (HTTPError, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _error_response)


async def _error_response(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPError):
        return json_response({"error": error.message}, error.status, error.headers)
    if isinstance(error, HTTPException):
        return json_response({"error": str(error.detail)}, error.status_code, dict(error.headers or {}))
    if isinstance(error, RequestValidationError):
        wrong = error.errors()[0]
        return json_response({"error": f"{wrong['loc'][-1]}: {wrong['msg'].lower()}"}, 422)
    return json_response({"error": "the service failed on this request; its log says why"}, 500, HEADERS)


def token_needed() -> Response:
    """The answer to a request without the token."""
    return json_response({"error": "send the token as `Authorization: Bearer ...`"}, 401, {"WWW-Authenticate": "Bearer"})


def has_token(request: Request, token: str) -> bool:
    """Whether a request carries the bearer token.

    Args:
        request: Of a client.
        token: What it must send.

    Returns:
        True or False, in the same time for any wrong token.
    """
    given = request.headers.get("authorization", "").encode()
    return hmac.compare_digest(given, f"Bearer {token}".encode())
