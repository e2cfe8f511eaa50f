"""The models that both servers' documents share."""

from typing import Any, Final, Literal

from fastapi import Depends
from fastapi.params import Depends as DependsMarker
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field

from serving.http.document.writing import JSON, schema_of


class ErrorFacts(BaseModel):
    """The figures behind a refusal. Each is there only where it explains the refusal."""

    required_usdc: int | None = Field(default=None, description="the most the request may cost")
    available_usdc: int | None = Field(default=None, description="what can be spent now")
    held_usdc: int | None = Field(default=None, description="set aside on chain for requests")
    resets_at: str | None = Field(
        default=None, description="when the limit that refused counts from zero again"
    )
    next_harvest_at: str | None = Field(
        default=None, description="when a harvest is next expected to add to the allowance"
    )
    is_estimate: bool | None = Field(
        default=None,
        description="whether the yield is still to reach 0.01 USDC; `next_harvest_at` is when it "
        "does, at the pace since the last harvest",
    )
    no_harvest_because: str | None = Field(
        default=None,
        description="why no harvest is expected: no_principal, yield_below_minimum or unknown",
    )
    limit: str | None = Field(default=None, description="which limit of a child key refused")
    limit_value: int | None = Field(
        default=None, description="that limit: requests, or 1e-6 USDC where it limits money"
    )
    limit_used: int | None = Field(default=None, description="used of that limit, in its unit")
    minimum_discount_pct: int | None = Field(default=None, description="what was asked for")
    best_available_discount_pct: float | None = Field(
        default=None, description="the best discount now; null: no reference price proves any"
    )
    dropped: dict[str, int] | None = Field(
        default=None, description="why offers did not serve, and how many for each reason"
    )
    upstream_code: str | None = Field(
        default=None, description="the provider's own code for its refusal"
    )
    request_id: str | None = Field(
        default=None, description="the earlier request with the same Idempotency-Key"
    )
    cost_usdc: int | None = Field(
        default=None,
        description="what was charged: for the delivered part of a stream, or the earlier request",
    )


class ErrorDetail(ErrorFacts):
    """What went wrong, as OpenAI's SDKs expect it, with the figures behind it."""

    message: str = Field(description="for people: what happened, what it means, what to do")
    type: str = Field(description="OpenAI's class of the error")
    code: str = Field(description="for programs: stable, lower case")
    param: str | None = Field(description="the field to blame; null: the request as a whole")


class ErrorBody(ErrorFacts):
    """The body of every answer that is not a success."""

    error: ErrorDetail


class Alive(BaseModel):
    """The process runs. Nothing is said of what it depends on."""

    status: Literal["ok"]


def errors_of(*statuses: int, body: type[BaseModel] = ErrorBody) -> dict[int | str, dict[str, Any]]:
    """Return how a document states errors with these statuses, and the errors of all operations."""
    return {
        status: {"description": _MEANINGS[status], "content": {JSON: {"schema": schema_of(body)}}}
        for status in sorted({*statuses, *_EVERYWHERE})
    }


_EVERYWHERE: Final = (429, 431, 500, 503)
_MEANINGS: Final = {
    400: "a field is missing, of a wrong type or out of range; `param` names it",
    401: "no key, or a key that is invalid, revoked or expired",
    402: "the credit does not cover the request",
    403: "the key may not do this",
    404: "there is no such thing here, or it belongs to another",
    405: "the path takes other methods: see the header `allow`",
    408: "the request did not arrive in time",
    409: "the request contradicts an earlier one",
    413: "the body is too long",
    415: "the body is compressed, or of a media type that is not read",
    422: "the provider refused the request's content",
    429: "too many requests, or nothing left to spend: see `code`",
    431: "the headers are too long",
    500: "a mistake on our side",
    502: "the provider failed, or its charge could not be written: see `code`",
    503: "something needed is not available now; nothing is let through meanwhile",
    504: "the provider did not answer in time",
}


def security_of(name: str, description: str, form: str) -> list[DependsMarker]:
    """Return the dependencies of a route that takes this kind of key.

    They are for the document only: the routes read their keys themselves.
    """
    scheme = HTTPBearer(
        scheme_name=name, bearerFormat=form, description=description, auto_error=False
    )
    return [Depends(scheme)]
