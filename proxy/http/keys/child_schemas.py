"""The child keys as requests and answers state them."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from contracts.units import utc_day
from ledger.spending.children import get_month
from ledger.spending.keys import TERMS, ChildTerms
from proxy.errors import format_time
from proxy.keys.tokens import INTEGER_MAX

EXPIRY_MAX_S: Final = 253_402_300_799  # the end of the year 9999
GRACE_MAX_S: Final = 30 * 86_400


def _parse_time(value: object) -> object:
    if value is None or (type(value) is int and 0 <= value <= EXPIRY_MAX_S):
        return value
    if isinstance(value, str):
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("must be an ISO 8601 time or Unix seconds") from None
        return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp())
    raise ValueError("must be an ISO 8601 time or Unix seconds")


_Amount = Annotated[int | None, Field(ge=0, le=INTEGER_MAX, description="1e-6 USDC")]
_Count = Annotated[int | None, Field(ge=0, le=2**31 - 1, description="requests")]
_ModelId = Annotated[str, StringConstraints(min_length=1, max_length=200)]


def _check_label(label: str) -> str:
    if not label.isprintable() or any(mark in label for mark in "<>&"):
        raise ValueError("must be printable text without < > &")
    return label


class ChildTermsBody(BaseModel):
    """What a child key may do; what is left out, or null, has no limit."""

    model_config = ConfigDict(extra="forbid", strict=True)

    label: Annotated[str, StringConstraints(max_length=100), AfterValidator(_check_label)] = ""
    models: Annotated[list[_ModelId] | None, Field(max_length=100)] = Field(
        default=None, description="the only models it may use"
    )
    request_usdc_max: _Amount = None
    day_usdc_max: _Amount = None
    month_usdc_max: _Amount = None
    lifetime_usdc_max: _Amount = None
    requests_per_minute_max: _Count = None
    concurrency_max: _Count = None
    expires_at: Annotated[int | None, BeforeValidator(_parse_time)] = Field(
        default=None, description="ISO 8601 time or Unix seconds"
    )

    def build_terms(self) -> ChildTerms:
        """Return the terms for the ledger."""
        return ChildTerms(**self._stated(self.model_dump()))

    def build_changes(self) -> dict[str, Any]:
        """Return those terms that the body names, for the ledger."""
        return self._stated(self.model_dump(exclude_unset=True))

    def _stated(self, values: dict[str, Any]) -> dict[str, Any]:
        if "expires_at" in values:
            values["expires_at_s"] = values.pop("expires_at")
        assert values.keys() <= set(TERMS)
        return values


class RotationBody(BaseModel):
    """How long the key before is still good."""

    model_config = ConfigDict(extra="forbid", strict=True)

    grace_s: int = Field(default=0, ge=0, le=GRACE_MAX_S, description="seconds")


class ChildUsed(BaseModel):
    """What is used of a child key's limits, reservations included; 1e-6 USDC."""

    day_usdc: int
    month_usdc: int
    lifetime_usdc: int
    open_requests: int


class ChildView(BaseModel):
    """A child key. ``apiKey`` is shown once, when it is made or rotated."""

    keyId: str
    tokenId: str
    keyEpoch: int
    state: Literal["active", "expired", "revoked"]
    label: str
    models: list[str] | None = Field(description="the only models it may use; null: any")
    request_usdc_max: int | None
    day_usdc_max: int | None
    month_usdc_max: int | None
    lifetime_usdc_max: int | None
    requests_per_minute_max: int | None
    concurrency_max: int | None = Field(description="requests at a time")
    expires_at: str | None
    created_at: str
    revoked_at: str | None
    rotations: int
    grace_until: str | None = Field(description="until then the key before is good too")
    used: ChildUsed


class ChildIssued(ChildView):
    """A child key that was just made or rotated."""

    apiKey: str


class ChildList(BaseModel):
    """The child keys of a position's current epoch, oldest first."""

    data: list[ChildView]


def describe_child(row: Mapping[Any, Any], *, now_s: int) -> ChildView:
    """Return a child key as ``ChildView`` states it; what is used, as of ``now_s``."""
    expires_at_s, revoked_at_s = row["expires_at_s"], row["revoked_at_s"]
    state: Literal["active", "expired", "revoked"] = "active"
    if revoked_at_s is not None:
        state = "revoked"
    elif expires_at_s is not None and now_s >= expires_at_s:
        state = "expired"
    today = utc_day(now_s)
    is_today = row["day"] >= today
    is_this_month = get_month(row["day"]) >= get_month(today)
    in_grace = row["grace_until_s"] > now_s
    return ChildView(
        keyId=row["key_id"],
        tokenId=str(row["token_id"]),
        keyEpoch=row["key_epoch"],
        state=state,
        **{name: row[name] for name in TERMS if name not in ("models", "expires_at_s")},
        models=None if row["models"] is None else orjson.loads(row["models"]),
        expires_at=None if expires_at_s is None else format_time(expires_at_s),
        created_at=format_time(row["created_at_s"]),
        revoked_at=None if revoked_at_s is None else format_time(revoked_at_s),
        rotations=row["generation"],
        grace_until=format_time(row["grace_until_s"]) if in_grace else None,
        used=ChildUsed(
            day_usdc=row["day_used_usdc"] if is_today else 0,
            month_usdc=row["month_used_usdc"] if is_this_month else 0,
            lifetime_usdc=row["used_usdc"],
            open_requests=row["open_requests"],
        ),
    )
