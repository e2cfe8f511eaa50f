"""Resold APIs, as requests and answers state them."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from market.endpoints.health import Standing
from market.resale.owning import KEY_MAX
from serving.dialects.shapes import PASS_THROUGH

_DOCUMENT: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {},
    "additionalProperties": True,
    PASS_THROUGH: True,
}
_VALUES: Final = [{"type": kind} for kind in ("string", "number", "boolean", "null")]

AnyDocument = Annotated[dict[str, Any], WithJsonSchema(_DOCUMENT)]
"""A document of somebody else's."""

AnyValue = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                _DOCUMENT,
                {"type": "array", "items": {"anyOf": [_DOCUMENT, *_VALUES]}},
                *_VALUES,
            ]
        }
    ),
]
"""Anything that JSON can say."""


class OperationTerms(BaseModel):
    """One operation that may be called; a text ``METHOD /path/{parameter}`` says the same."""

    model_config = ConfigDict(extra="forbid")

    method: str
    path: str
    units: int = Field(default=1, description="what a call takes of the quota")
    units_from: str | None = Field(
        default=None, description="where an answer says it: 'header: NAME' or 'json: a.b'"
    )
    units_max: int | None = Field(default=None, description="its bound, which is reserved")
    price_usd: str | None = Field(default=None, description="of a call; null: by the unit")
    count_on: list[str] | None = Field(default=None, description="statuses that are charged: 2xx")
    query: list[str] | None = Field(default=None, description="its parameters; null: any")
    headers: list[str] | None = Field(default=None, description="further headers passed on")
    cache_s: int = 0
    cached_price_usd: str | None = None
    summary: str = ""
    input_schema: AnyDocument | None = None
    output_example: AnyValue = Field(default=None, description="an answer's body")
    batch: bool = Field(default=False, description="whether a body may be a list or GraphQL")


class ConnectionBody(BaseModel):
    """A connection's terms. A preset fills in what is left out for an API that is known."""

    model_config = ConfigDict(extra="forbid")

    base_url: str | None = Field(default=None, description="https; a new one needs the key again")
    credential: str | None = Field(
        default=None, description="header: NAME, bearer, basic or query: NAME"
    )
    operations: list[OperationTerms | str] | None = Field(
        default=None, description="what may be called; nothing else is"
    )
    openapi: AnyDocument | None = Field(
        default=None, description="an OpenAPI 3.0 or 3.1 document that describes or lists them"
    )
    allow_methods: list[str] | None = Field(default=None, description="of PUT, PATCH, DELETE")
    monthly_quota: int | None = Field(default=None, description="units a month")
    quota: int | None = Field(default=None, description="of another period than a month")
    quota_period: Literal["month", "day", "days", "once"] | None = None
    quota_days: int | None = Field(default=None, description="days of a period")
    unit: Literal["calls", "credits"] | None = None
    reserved: int | None = Field(default=None, description="units that are never sold")
    buffer_pct: int | None = Field(default=None, description="per cent never sold; 2")
    reset_day: int | None = Field(default=None, description="the day of the month")
    time_zone: str | None = None
    quota_resets_at: int | str | None = Field(default=None, description="an instant of a reset")
    remaining_header: str | None = Field(
        default=None, description="the header by which the API says what remains of the quota"
    )
    usage_path: str | None = Field(
        default=None, description="an endpoint that says what is left: asked by GET, now and then"
    )
    usage_remaining: str | None = Field(
        default=None, description="where its answer says what is left: 'header: NAME', 'json: a.b'"
    )
    usage_used: str | None = Field(default=None, description="or where it says what is used")
    base_cost_usd: str | None = None
    markup: str | None = None
    price_usd: str | None = Field(default=None, description="of a unit, instead of both")
    floor_price_usd: str | None = Field(
        default=None, description="to which the price falls until the reset"
    )
    source_price_usd: str | None = Field(default=None, description="what the API itself charges")
    subscription_usd: str | None = None
    per_second: int | None = Field(default=None, description="calls a second")
    per_minute: int | None = Field(default=None, description="calls a minute")
    at_once: int | None = Field(default=None, description="calls at the same time")
    consumer_per_minute: int | None = Field(
        default=None, description="calls of a consumer a minute"
    )
    failures_count: bool | None = Field(default=None, description="whether the API counts them")
    log_values: bool | None = None
    description: str | None = None


class ConnectionWish(ConnectionBody):
    """A connection to be made."""

    name: str
    api_key: str = Field(max_length=KEY_MAX, description="sealed on arrival, never shown again")
    payout_address: str | None = None


class ConnectionChange(ConnectionBody):
    """The changes to a connection; omitted fields stay, a null takes a term away."""

    api_key: str | None = Field(
        default=None, max_length=KEY_MAX, description="sealed on arrival, never shown again"
    )
    status: Literal["enabled", "disabled"] | None = None


class ConnectionView(BaseModel):
    """A connection as its owner sees it. Its credential is not in it."""

    id: str
    name: str
    sold_under: str = Field(description="the part of a call's path that names it")
    url: str = Field(description="what calls begin with")
    base_url: str
    credential: str
    operations: list[str]
    status: Literal["enabled", "disabled"]
    suspended_for: str | None
    health: Standing
    rests_s: float
    price_usdc: int = Field(description="of a unit, before it falls")
    floor_price_usdc: int | None
    payout_address: str
    version: int = Field(description="counts the changes")
    created_at: int
    updated_at: int


class ConnectionList(BaseModel):
    """An owner's connections, oldest first."""

    connections: list[ConnectionView]


class FlagView(BaseModel):
    """Why a consumer of a connection is slowed down."""

    account_id: str
    reason: str
    detail: str
    flagged_at: int


class ConnectionStatus(BaseModel):
    """What the present period of a connection comes to. Units are the API's."""

    id: str
    name: str
    unit: str
    starts_at: int
    resets_at: int
    days_to_reset: int = Field(description="whole days")
    quota: int = Field(description="units")
    reserved: int = Field(description="units")
    buffer: int = Field(description="units kept back")
    for_sale: int = Field(description="units")
    sold: int = Field(description="units")
    own_use: int = Field(description="units")
    left: int = Field(description="units")
    revenue_usdc: int = Field(
        description="what the calls were sold for, without the transactions of x402 payments"
    )
    your_share_usdc: int = Field(description="90 % of the revenue; of each call rounded down")
    fee_usdc: int
    subscription_usdc: int
    net_usdc: int
    source_price_usdc: int | None
    warnings: list[str]
    flags: list[FlagView]


class ConnectionTest(BaseModel):
    """What the API answered to a call by its owner, which is not charged."""

    operation: str
    status: int | None = Field(description="HTTP's; null: no answer came")
    ok: bool
    api_ms: int | None
    error: str | None


class CallView(BaseModel):
    """One call as the owner sees it: never what was asked, nor what was answered."""

    call_id: str
    reserved_at_s: int
    account_id: str
    operation: str
    state: str
    status: int | None = Field(description="HTTP's; null: no answer came")
    units: int | None = Field(description="what it took of the quota; null: nothing")
    price_usdc: int
    cost_usdc: int | None
    earning_usdc: int | None
    fee_usdc: int | None
    void_reason: str | None
    api_ms: int | None
    whole_ms: int | None
    payout_id: str | None


class CallPage(BaseModel):
    """Calls of a connection, oldest first."""

    calls: list[CallView]
    next_cursor: str | None


class SoldOperation(BaseModel):
    """One operation of an API that is on sale, where it is cheapest now."""

    method: str
    path: str
    url: str = Field(description="what is called, parameters in braces")
    summary: str
    price_usdc: int = Field(description="the most that a call costs by a key with credit")
    price_usd: str
    valid_until: int | None = Field(description="until when the price stands; null: open")
    units: int = Field(description="what a call takes of the quota")
    left: int = Field(description="units that can still be sold, over all connections")
    connections: int = Field(description="how many serve it")
    health: Standing
    p50_ms: int | None = Field(description="the API's median of late; null: not called yet")


class SoldApi(BaseModel):
    """An API that is on sale."""

    name: str
    sold_under: str
    owner: str | None = Field(description="whose connection it is; null: an approved name")
    description: str
    url: str
    openapi_url: str
    unit: str
    resets_at: int
    source_price_usdc: int | None = Field(description="what the API itself charges by the call")
    operations: list[SoldOperation]


class ApiList(BaseModel):
    """All APIs that are on sale."""

    apis: list[SoldApi]


class DiscoveryPagination(BaseModel):
    """Where a page of resources stands among all."""

    limit: int = Field(description="entries of a page")
    offset: int = Field(description="entries before this page")
    total: int = Field(description="entries in all")


class DiscoveredResource(BaseModel):
    """A resource that is paid for by x402, as the specification's catalogues state it."""

    resource: str
    type: Literal["http"]
    x402Version: Literal[2]
    accepts: list[AnyDocument]
    lastUpdated: int = Field(description="Unix seconds")
    metadata: AnyDocument
    extensions: AnyDocument


class DiscoveredResources(BaseModel):
    """A page of resources."""

    x402Version: Literal[2]
    items: list[DiscoveredResource]
    pagination: DiscoveryPagination


class ApiDocument(BaseModel):
    """An API's OpenAPI document: the part of it that is sold, at this market's address."""

    model_config = ConfigDict(extra="allow", json_schema_extra={PASS_THROUGH: True})

    openapi: str
