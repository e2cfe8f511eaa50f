"""What a dialect's clients and a server say to each other beside the answer: key and errors."""

from collections.abc import Mapping
from functools import partial

import orjson
from starlette.types import Scope

from serving.dialects.dialect import MESSAGES, Dialect
from serving.http.answers import Answer, BuildError, build_error_answer
from serving.http.bodies import find_header, parse_bearer
from serving.http.errors import ApiError, RequestRejected, unauthorized


def build_errors_of(dialect: Dialect | None, request_id: str) -> BuildError:
    """Return what makes the error answers of a dialect."""
    if dialect is None:
        return build_error_answer
    return partial(_build_error, dialect, request_id)


def find_errors_below(prefix: str, path: str, request_id: str) -> BuildError:
    """Return what makes the errors of a path of a server whose API begins at ``prefix``.

    All below a dialect's path speak that dialect.
    """
    at = f"{prefix}/v1/{MESSAGES.name}"
    is_message = path == at or path.startswith(f"{at}/")
    return build_errors_of(MESSAGES if is_message else None, request_id)


def _build_error(
    dialect: Dialect, request_id: str, error: ApiError, headers: Mapping[str, str]
) -> Answer:
    named = {} if dialect.id_header is None else {dialect.id_header: request_id}
    if error.has_own_body:
        return build_error_answer(error, {**headers, **named})
    body = orjson.dumps(dialect.describe_error(error, request_id))
    return build_error_answer(error, {**headers, **named}, body=body)


def find_authorization(scope: Scope, dialect: Dialect | None) -> str | None:
    """Return the Authorization header, or what stands for it in a dialect.

    Anthropic's clients send their key as ``x-api-key``, and some send both headers. Raises 401
    where these are two keys.
    """
    authorization = find_header(scope, b"authorization")
    if dialect is not MESSAGES:
        return authorization
    key = find_header(scope, b"x-api-key")
    if not key:
        return authorization
    if authorization is not None and parse_bearer(authorization) != key.strip():
        raise two_keys()
    return f"Bearer {key.strip()}"


def two_keys() -> RequestRejected:
    """401: two headers have two keys."""
    message = "The headers Authorization and x-api-key hold two different keys: send one key."
    return unauthorized("two_api_keys", message)
