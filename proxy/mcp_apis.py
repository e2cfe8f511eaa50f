"""The tools that sell calls of APIs: what is on sale at the market, and one call of it.

A call is paid by the buyer's key of the market that the caller has, or by x402: then the first call
comes back with what must be paid, and the same call with ``_meta["x402/payment"]`` pays it. Neither
way costs more than ``max_usdc``: the market is told, and a payment is looked at before it is sent.
"""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, TextContent, ToolAnnotations
from pydantic import BaseModel, Field

from contracts.units import format_usdc, parse_usdc

MARKET_KEY_HEADER: Final = "x-market-key"
"""Where a caller over HTTP sends its buyer's key of the market."""
MOST_HEADER: Final = "x-market-max-call-usdc"
COST_HEADER: Final = "x-market-cost-usdc"
PAYMENT_META: Final = "x402/payment"
RECEIPT_META: Final = "x402/payment-response"
TEXT_MAX: Final = 100_000
"""Characters of an answer that are handed to an agent."""

_NAME: Final = re.compile(r"(?:~0x[0-9a-fA-F]{40}/)?[a-z0-9-]{2,40}")
"""A connection's name, or one of an owner's: nothing that a client folds into another path."""
_PATH: Final = re.compile(r"/[A-Za-z0-9._~%!$&'()*+,;=:@/-]{0,2000}")
_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True, slots=True)
class MarketAnswer:
    """What the market answered to one request."""

    status: int
    headers: Mapping[str, str]
    """By names in lower case."""
    text: str


AskMarket = Callable[[str, str, Mapping[str, str], bytes | None], Awaitable[MarketAnswer]]
"""Asks the market: method, path, headers, body. Raises ``ToolError`` where it does not answer."""


class ToolOperation(BaseModel):
    """One operation of an API that can be called."""

    method: str
    path: str
    summary: str
    price: str
    left: int | None


class ToolApi(BaseModel):
    """One API on sale."""

    name: str
    description: str
    operations: list[ToolOperation]


class ToolApis(BaseModel):
    """The APIs on sale."""

    apis: list[ToolApi]


class ToolCall(BaseModel):
    """What an API answered, and what the call cost."""

    status: int
    content_type: str
    text: str
    is_cut: bool = Field(description="whether the answer is longer than what is shown")
    cost: str | None = Field(description="null: the market does not say")
    request_id: str | None


_READS: Final = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=True)
_CALLS: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=True
)


def add_api_tools(server: MCPServer, ask: AskMarket, *, market_key: str | None = None) -> None:
    """Add the tools. ``market_key``: for callers that send none, as over standard input."""

    @server.tool(annotations=_READS)
    async def list_apis() -> ToolApis:
        """List the APIs whose calls are on sale, with their operations and prices."""
        answer = await ask("GET", "/v1/apis", {}, None)
        if answer.status != 200:
            raise ToolError(_read_error(answer))
        return ToolApis(apis=[_describe(one) for one in json.loads(answer.text)["apis"]])

    @server.tool(annotations=_CALLS)
    async def call_api(
        context: Context[Any, Any],
        api: Annotated[str, Field(description="a name from list_apis")],
        path: Annotated[str, Field(description="the operation's path, filled in")],
        max_usdc: Annotated[
            str, Field(description="the most that the call may cost, in USDC, such as 0.01")
        ],
        method: str = "GET",
        query: Annotated[str, Field(description="as it stands in a URL, without ?")] = "",
        body: Annotated[
            dict[str, Any] | list[Any] | None, Field(description="where the operation takes one")
        ] = None,
    ) -> Annotated[CallToolResult, ToolCall]:
        """Call an API that list_apis names, paid by a market key or by x402: at most max_usdc.

        It does what the API does, which may change something there.
        """
        most_usdc = read_most_usdc(max_usdc)
        target = _read_target(api, path, query)
        if method.upper() not in _METHODS:
            raise ToolError("method: GET, POST, PUT, PATCH or DELETE.")
        headers = {MOST_HEADER: str(most_usdc)}
        if body is not None:
            headers["content-type"] = "application/json"
        payment = _find_payment(context)
        key = (context.headers or {}).get(MARKET_KEY_HEADER) or market_key
        if payment is not None:
            headers["payment-signature"] = _check_payment(payment, most_usdc)
        elif key:
            headers["authorization"] = f"Bearer {key}"
        raw = None if body is None else json.dumps(body).encode()
        answer = await ask(method.upper(), target, headers, raw)
        return _read_call(answer, most_usdc)


def read_most_usdc(text: str) -> int:
    """Return an amount in 1e-6 USDC. Raises ``ToolError``."""
    try:
        return parse_usdc(text.removesuffix("USDC").strip())
    except ValueError as error:
        raise ToolError(f"max_usdc: {error}") from None


def _read_target(api: str, path: str, query: str) -> str:
    """Return the call's path at the market; what could lead elsewhere is refused."""
    if _NAME.fullmatch(api) is None:
        raise ToolError("api: not a name from list_apis.")
    if _PATH.fullmatch(path) is None or "//" in path or _is_folded(path):
        raise ToolError("path: must begin with / and have the characters of a path alone.")
    if any(sign in query for sign in "#? \r\n\t") or not query.isascii() or len(query) > 8_000:
        raise ToolError("query: must be as it stands in a URL.")
    return f"/x402/{api}{path}" + (f"?{query}" if query else "")


def _is_folded(path: str) -> bool:
    """Tell whether a client may fold segments of dots, however written, into another path."""
    segments = path.lower().replace("%2e", ".").replace("%2f", "/").split("/")
    return any(segment.partition(";")[0] in (".", "..") for segment in segments)


def _find_payment(context: Context[Any, Any]) -> Any:
    meta = (context.request_context.params or {}).get("_meta")
    return meta.get(PAYMENT_META) if isinstance(meta, Mapping) else None


def _check_payment(payment: Any, most_usdc: int) -> str:
    """Return a payment as its header has it. Raises ``ToolError`` where it pays too much.

    What it pays stands in the authorization that was signed; what cannot be read is not sent.
    """
    try:
        if isinstance(payment, str):
            payment = json.loads(b64decode(payment, validate=True))
        value = payment["payload"]["authorization"]["value"]
        amount_usdc = int(value) if isinstance(value, str) and value.isdecimal() else -1
    except (ValueError, KeyError, TypeError):
        amount_usdc = -1
    if amount_usdc < 0:
        raise ToolError(f"_meta['{PAYMENT_META}'] is no payment of x402 that could be bounded.")
    if amount_usdc > most_usdc:
        raise ToolError(
            f"The payment is of {format_usdc(amount_usdc)} USDC, above max_usdc"
            f" {format_usdc(most_usdc)} USDC: it was not sent."
        )
    return b64encode(json.dumps(payment).encode()).decode()


def _read_call(answer: MarketAnswer, most_usdc: int) -> CallToolResult:
    required = answer.headers.get("payment-required")
    if answer.status == 402 and required is not None:
        return _ask_for_payment(required, most_usdc)
    cost = answer.headers.get(COST_HEADER)
    if cost is None and answer.status >= 400:
        raise ToolError(_read_error(answer))
    told = ToolCall(
        status=answer.status,
        content_type=answer.headers.get("content-type", ""),
        text=answer.text[:TEXT_MAX],
        is_cut=len(answer.text) > TEXT_MAX,
        cost=f"{format_usdc(int(cost))} USDC" if cost is not None and cost.isdecimal() else None,
        request_id=answer.headers.get("x-request-id"),
    )
    paid = answer.headers.get("payment-response")
    meta = {} if paid is None else {RECEIPT_META: _decode(paid)}
    return CallToolResult(
        content=[TextContent(text=told.model_dump_json())],
        structured_content=told.model_dump(),
        _meta=meta,
    )


def _ask_for_payment(required: str, most_usdc: int) -> CallToolResult:
    """Return what must be paid, as x402 says it by MCP: to be called again with the payment."""
    terms = _decode(required)
    offers = terms.get("accepts") if isinstance(terms, dict) else None
    amounts = [one.get("amount") for one in offers or () if isinstance(one, dict)]
    known = [int(one) for one in amounts if isinstance(one, str) and one.isdecimal()]
    if known and min(known) > most_usdc:
        raise ToolError(
            f"The call costs {format_usdc(min(known))} USDC, above max_usdc"
            f" {format_usdc(most_usdc)} USDC."
        )
    return CallToolResult(
        content=[TextContent(text=json.dumps(terms))], structured_content=terms, is_error=True
    )


def _decode(header: str) -> Any:
    try:
        return json.loads(b64decode(header))
    except ValueError:
        raise ToolError("The market's words on the payment cannot be read.") from None


def _read_error(answer: MarketAnswer) -> str:
    try:
        said = json.loads(answer.text)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        said = None
    return str(said) if said else f"The market answered {answer.status}."


def _describe(api: Mapping[str, Any]) -> ToolApi:
    return ToolApi(
        name=api["sold_under"],
        description=api["description"],
        operations=[
            ToolOperation(
                method=one["method"],
                path=one["path"],
                summary=one["summary"],
                price=f"{one['price_usd']} USDC a call",
                left=one["left"],
            )
            for one in api["operations"]
        ],
    )
