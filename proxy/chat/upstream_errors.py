"""What a client of the proxy is told of upstream's failures. Pure.

Upstream's meaning is kept: its words (cleaned), the code that clients look at, how long to wait,
and whether to ask again at all.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import ceil
from typing import Any, Final

from proxy.errors import price_changed, upstream_failed
from serving.http.errors import NO_RETRY, RETRY_SOON_S, ApiError, RequestRejected, TryLater
from serving.models.failures import (
    KNOWN_CODES,
    Cause,
    UpstreamError,
    UpstreamFailure,
    UpstreamRejected,
    classify_said,
)

PRICE_CEILING_NOT_MET: Final = "price_ceiling_not_met"
"""What a market answers where only dearer sellers are left."""

OPERATOR_CREDIT_SPENT: Final = "operator_credit_spent"

_RATE_RETRY_S: Final = 5
_UNAVAILABLE: Final = frozenset({503, 529})


_OURS: Final = frozenset(
    {"settlement_failed", "ledger_unavailable", "chain_state_stale", "internal_error", "overloaded"}
)
"""Failures that are this server's own: another model does not help."""

_OF_ONE_MODEL: Final = frozenset({400, 403, 404, 409, 413, 422, 451})


def may_ask_next(error: ApiError) -> bool:
    """Tell whether another model may serve what this one did not.

    Whatever a model or its provider refuses may please another; a key, a limit or the ledger does
    not change with the model.
    """
    if error.code in _OURS:
        return False
    return error.status >= 500 or error.status in _OF_ONE_MODEL


@contextmanager
def translated() -> Iterator[None]:
    """Raise what a client is told where upstream does not serve. Raises ``ApiError``."""
    try:
        yield
    except UpstreamError as error:
        raise translate(error) from error


def describe_said(said: object, *, secrets: tuple[str, ...]) -> ApiError:
    """Return what a client is told of an error object that upstream sent in a stream."""
    error = classify_said(said, secrets=secrets)
    if isinstance(error, UpstreamFailure) and error.cause is not Cause.BAD_FORMAT:
        return translate(error)
    if isinstance(error, UpstreamRejected) and error.code in KNOWN_CODES:
        return translate(error)
    if error.message is None:
        return upstream_failed("upstream_error", "The model's provider failed.")
    return upstream_failed("upstream_error", f"The model's provider failed: {_end(error.message)}")


def explain_no_answer(failure: object, *, secrets: tuple[str, ...]) -> ApiError:
    """Return what a client is told of a success without an answer: upstream's own error, if any."""
    if failure is None:
        return translate(UpstreamFailure(Cause.BAD_FORMAT))
    return translate(classify_said(failure, secrets=secrets))


def translate(error: UpstreamError) -> ApiError:
    """Return what a client is told where upstream did not serve a request."""
    if isinstance(error, UpstreamRejected):
        return _translate_rejection(error)
    assert isinstance(error, UpstreamFailure)
    if error.code == PRICE_CEILING_NOT_MET:
        return price_changed()
    told = _build_failure(error)
    if error.code is not None:
        told.facts = {"upstream_code": error.code}
    return told


def _translate_rejection(error: UpstreamRejected) -> ApiError:
    """Keep the status, words and meaning of what the client can mend."""
    if error.status == 405:
        return upstream_failed("upstream_error", "The model's provider serves no completions.")
    code = error.code if error.code in KNOWN_CODES else "upstream_rejected"
    facts: dict[str, Any] = {} if error.code is None else {"upstream_code": error.code}
    headers = NO_RETRY if error.status in (403, 409, 451) else {}
    return RequestRejected(
        error.status, code, error.message, error.param, facts=facts, headers=headers
    )


def _build_failure(failure: UpstreamFailure) -> ApiError:
    """Return the error for what only the operator or upstream can mend, or time does."""
    said = "" if failure.message is None else f" It said: {_end(failure.message)}"
    match failure.cause:
        case Cause.TIMEOUT:
            message = f"The model's provider did not answer in time.{said}"
            return upstream_failed("upstream_timeout", message, status=504)
        case Cause.UNREACHABLE:
            message = "The model's provider cannot be reached."
            away = upstream_failed("upstream_unreachable", message)
            return _with_headers(away, _retry_after(failure, RETRY_SOON_S))
        case Cause.DISCONNECTED:
            message = "The model's provider broke off its answer."
            return upstream_failed("upstream_disconnected", message)
        case Cause.BAD_FORMAT if failure.status is None:
            message = "The model's provider sent an answer that is not a completion."
            return upstream_failed("upstream_invalid_response", message)
        case Cause.FUNDS:
            message = "The operator's own credit with the model's provider is spent."
            return _with_headers(
                upstream_failed(OPERATOR_CREDIT_SPENT, message, status=503), NO_RETRY
            )
        case Cause.AUTH:
            message = "The model's provider refuses the operator's key."
            return _with_headers(upstream_failed("upstream_error", message), NO_RETRY)
        case Cause.RATE:
            message = f"The model's provider is busy.{said}"
            busy = upstream_failed("upstream_rate_limited", message, status=503)
            return _with_headers(busy, _retry_after(failure, _RATE_RETRY_S))
    if failure.status in _UNAVAILABLE:
        message = f"The model's provider cannot serve this now.{said}"
        later = upstream_failed("upstream_error", message, status=503)
        return _with_headers(later, _retry_after(failure, RETRY_SOON_S))
    failed = "failed" if failure.status is None else f"failed with HTTP status {failure.status}"
    told = upstream_failed("upstream_error", f"The model's provider {failed}.{said}")
    if failure.retry_after_s is not None:
        told.headers = _retry_after(failure, RETRY_SOON_S)
    return told


def _retry_after(failure: UpstreamFailure, default_s: int) -> Mapping[str, str]:
    wait_s = default_s if failure.retry_after_s is None else ceil(failure.retry_after_s)
    return {"retry-after": str(wait_s)}


def _with_headers(error: TryLater, headers: Mapping[str, str]) -> ApiError:
    error.headers = headers
    return error


def _end(message: str) -> str:
    return message if message.endswith((".", "!", "?")) else f"{message}."
