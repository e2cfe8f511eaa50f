"""What a provider's failure means: for the provider, and for the request. Pure.

::

    an answer that is no success ─┬─ UpstreamRejected  the request is wrong, in the provider's words
                                  └─ UpstreamFailure   the provider cannot serve now: ``cause``

The same HTTP status means different things to different providers, so the words count too: a spent
credit comes as 400, 402, 403 or 429, an invalid key as 400, a prompt that is too long as 400, 413,
422 or 500, and a refusal by moderation as 400, 403 or 451.
"""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Final

from contracts.errors import CurrentError
from serving.models.error_words import ErrorWords, clean, read_body, read_words

CONTEXT_LENGTH_EXCEEDED: Final = "context_length_exceeded"
CONTENT_POLICY_VIOLATION: Final = "content_policy_violation"

LOOP_DETECTED: Final = "loop_detected"
LOOP_STATUS: Final = 508

KNOWN_CODES: Final = frozenset({CONTEXT_LENGTH_EXCEEDED, CONTENT_POLICY_VIOLATION})
"""Codes that clients act on, so both servers give them to a refusal that means the same."""

RETRY_AFTER_S_MAX: Final = 86_400.0
_REJECTED: Final = frozenset({400, 409, 413, 422})
_NOT_SERVED: Final = frozenset({404, 405})


def _any_of(*phrases: str) -> re.Pattern[str]:
    return re.compile("|".join(phrases))


_CONTEXT: Final = _any_of(
    r"context_length_exceeded",
    r"exceed_context_size",
    r"(?:maximum|max|model'?s?|available) (?:\w+ )?(?:context|prompt) (?:length|size|window|limit)",
    r"exceed\w* (?:the )?(?:[\w']+ ){0,3}(?:context|prompt) (?:length|size|window|limit)",
    r"exceed\w* (?:the )?context",
    r"context (?:length|size|window|limit) (?:\w+ )?exceed",
    r"longer than the model'?s context",
    r"context too long",
    r"(?:prompt|input|request|messages?)(?: \w+)? (?:is|are|was|were) too long",
    r"too large for model",
    r"too many (?:input |prompt |total )?(?:text )?tokens",
    r"input token count .*exceed",
    r"(?:inputs?|prompt)[` ]*(?:length|tokens?)\b.*(?:exceed|must be <=|less than)",
    r"tokens`? \+ `?max_new_tokens",
    r"range of input length",
    r"reduce the length of (?:the |your )?(?:messages|prompt|input)",
)
_TOO_LONG: Final = re.compile(
    r"string_above_max_length|(?:string|array|field|value) (?:is )?too long"
)
"""A complaint about one field's length: of the prompt, or of a name, an id, a description."""

_FIELD: Final = re.compile(r"invalid ['\"`]([^'\"`]{1,200})['\"`]")
_PROMPT_FIELD: Final = re.compile(
    r"(?:^|\.)(?:messages?|prompt|input|content|text|instructions|system|output|arguments)(?:\[\d+\]|\.\d+)*$"
)
_MODERATION: Final = _any_of(
    r"content[_ ](?:policy|filter)",
    r"content management policy",
    r"moderation",
    r"(?:was|is|been|were) flagged",
    r"safety (?:system|filter|setting|check|reason)",
    r"usage polic",
    r"policy[_ ]violation",
    r"data_?inspection",
    r"(?:inappropriate|prohibited|sensitive)[_ ]content",
    r"responsible ?ai",
)
_FUNDS: Final = _any_of(
    r"insufficient[_ ](?:user )?(?:quota|balance|credit|fund)",
    r"credit balance",
    r"credit_spent",
    r"exceeded your current quota",
    r"exceeded_current_quota",
    r"billing",
    r"out of credit",
    r"no credits?\b",
    r"credits? (?:(?:is|are|has|have)(?: been)? )?(?:exhausted|depleted|used up|spent)",
    r"(?:more|not enough) credits",
    r"payment required",
    r"arrear",
    r"account_deactivated",
    r"spending limit",
    r"monthly (?:spend|included credits)",
    r"hard limit",
)
_NO_FUNDS: Final = re.compile(
    r"(?:your |the )?(?:credit balance is too low|(?:account )?balance is (?:too low|insufficient)"
    r"|insufficient (?:account )?(?:balance|credits?|funds)|account (?:is )?in arrears|arrearage)"
)
_NO_KEY: Final = re.compile(
    r"(?:the |your )?(?:(?:provided )?api key (?:is )?(?:not valid|invalid|expired|not found)"
    r"|(?:incorrect|invalid|missing|expired) (?:or missing )?api key)"
)


class Cause(StrEnum):
    """What a provider's endpoint did wrong."""

    AUTH = "auth"
    FUNDS = "funds"
    RATE = "rate"
    SERVER = "server"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    """No connection was made."""
    DISCONNECTED = "disconnected"
    """The connection broke before the answer was complete."""
    BAD_FORMAT = "bad_format"
    WRONG_MODEL = "wrong_model"
    """The answer is another model's than the one that was asked for."""
    OVERSTATED = "overstated"
    """Reports of usage that cannot be true, several in a row."""


class UpstreamError(CurrentError):
    """A provider did not give what it was asked for."""


class UpstreamFailure(UpstreamError):
    """A provider did not serve; ``cause`` says what that means for its health.

    ``message`` is the provider's own words, cleaned; None where it said nothing that helps.
    """

    def __init__(
        self,
        cause: Cause,
        *,
        retry_after_s: float | None = None,
        status: int | None = None,
        message: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.retry_after_s = retry_after_s
        self.status = status
        self.message = message
        self.code = code


class Looped(UpstreamFailure):
    """A provider did not serve because the request had passed too many servers before it.

    Who sends a request may say that it has passed many, so it says nothing of the provider.
    """


class UpstreamRejected(UpstreamError):
    """A provider refused the request as wrong. The words are cleaned.

    ``code`` is the provider's, or the common name of what it means where that is known.
    """

    def __init__(
        self, status: int, message: str, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code


class NotServed(UpstreamRejected):
    """A provider has nothing at the path of the request."""


def classify(
    status: int, raw: bytes, *, retry_after: str | None, secrets: tuple[str, ...], now_s: float
) -> UpstreamFailure | UpstreamRejected:
    """Return what an answer other than a success says of the provider, or of the request.

    ``retry_after`` is the header of that name. ``secrets`` are removed from the words.
    """
    words = read_body(raw)
    return _classify(status, words, read_retry_after(retry_after, now_s=now_s), secrets)


def classify_said(said: object, *, secrets: tuple[str, ...]) -> UpstreamFailure | UpstreamRejected:
    """Return the same for an error object that came inside a success, or inside a stream."""
    words = read_words(said)
    named = f"{words.code} {words.type}".lower()
    status = words.status
    if status is None:
        status = 402 if _FUNDS.search(named) else 429 if "rate_limit" in named else 500
    error = _classify(status, words, None, secrets)
    if isinstance(error, UpstreamFailure):
        error.status = words.status
        if words.status is None and words.code is None and words.type is None:
            error.cause = Cause.BAD_FORMAT  # it does not even say what kind of error it is
    return error


def _classify(
    status: int, words: ErrorWords, retry_after_s: float | None, secrets: tuple[str, ...]
) -> UpstreamFailure | UpstreamRejected:
    message, param, code = (
        None if part is None else clean(part, secrets) or None
        for part in (words.message, words.param, words.code or words.type)
    )
    said = words.all
    if status == LOOP_STATUS or words.code == LOOP_DETECTED:
        return Looped(Cause.SERVER, status=status, message=message, code=code)
    if status >= 400 and status != 429 and _is_too_long(words):
        known = status if status in _REJECTED else 400
        return _reject(known, message, param, CONTEXT_LENGTH_EXCEEDED)
    cause = _find_cause(status, said)
    if cause is not None:
        return UpstreamFailure(
            cause, retry_after_s=retry_after_s, status=status, message=message, code=code
        )
    if status in (403, 451) or (status in _REJECTED and _MODERATION.search(said) is not None):
        return _reject(status, message, param, CONTENT_POLICY_VIOLATION)
    if status in _NOT_SERVED:
        fallback = "The model's provider does not serve this request."
        return NotServed(status, message or fallback, param, code)
    return _reject(status, message, param, code)


def _is_too_long(words: ErrorWords) -> bool:
    """Tell whether the conversation is too long for the model, which its client can shorten."""
    said = words.all
    if _TOO_LONG.search(said) is None:
        return _CONTEXT.search(said) is not None
    quoted = _FIELD.search(said)
    named = words.param.lower() if words.param else None if quoted is None else quoted.group(1)
    return named is None or _PROMPT_FIELD.search(named) is not None


def _reject(
    status: int, message: str | None, param: str | None, code: str | None
) -> UpstreamRejected:
    return UpstreamRejected(
        status, message or "The model's provider rejected the request.", param, code
    )


def _find_cause(status: int, said: str) -> Cause | None:
    """Return why the provider cannot serve, None where the request is what is wrong."""
    if status == 402:
        return Cause.FUNDS
    if status in (401, 403, 429) and _FUNDS.search(said) is not None:
        return Cause.FUNDS
    if status == 400:
        return _find_excuse(said)
    if status == 401:
        return Cause.AUTH
    if status in (403, 451):
        return None if _MODERATION.search(said) is not None else Cause.AUTH
    if status == 429:
        return Cause.RATE
    if status in (408, 504):
        return Cause.TIMEOUT if status == 504 else Cause.SERVER
    if status >= 500:
        return Cause.SERVER
    if status in _REJECTED or status in _NOT_SERVED:
        return None
    # Redirects, and what an OpenAI-compatible endpoint with this model does not answer.
    return Cause.BAD_FORMAT


def _find_excuse(said: str) -> Cause | None:
    """Return why a provider that answers 400 cannot serve, None where the request is wrong.

    Only the beginning of its words counts: a provider quotes the request further on, and no client
    shall be able to make it look broke or locked by what is asked.
    """
    if _NO_FUNDS.match(said) is not None:
        return Cause.FUNDS
    return Cause.AUTH if _NO_KEY.match(said) is not None else None


def read_retry_after(text: str | None, *, now_s: float) -> float | None:
    """Return the seconds of a Retry-After header: a number or a date; None for anything else."""
    if text is None:
        return None
    try:
        wait_s = float(text)
    except ValueError:
        try:
            until = parsedate_to_datetime(text)
        except (TypeError, ValueError):
            return None
        zoned = until if until.tzinfo is not None else until.replace(tzinfo=UTC)
        wait_s = (zoned - datetime.fromtimestamp(now_s, UTC)).total_seconds()
    if not 0 <= wait_s < float("inf"):
        return None
    return min(wait_s, RETRY_AFTER_S_MAX)
