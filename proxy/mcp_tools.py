"""The proxy's tools for agents by the Model Context Protocol: over standard input, or over HTTP.

Each tool asks the proxy's own HTTP API with the caller's key, so that a tool may do what the key
may, and nothing else. Amounts are texts with their unit. What spends takes ``max_usdc``, and the
proxy reserves no more than that.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, Final

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import ToolAnnotations
from pydantic import BaseModel, Field

from contracts.units import format_usdc
from ledger.spending.receipt_views import ReceiptInvalid, check_offline
from proxy.mcp_apis import AskMarket, add_api_tools, read_most_usdc

Ask = Callable[[str, str, str, Mapping[str, Any] | None], Awaitable[Mapping[str, Any]]]
"""Asks the API: method, path below /api/current, key, body. Returns the JSON object of a success.
Raises ``ToolError`` with the API's own words."""

INSTRUCTIONS: Final = (
    "Paid AI inference from the yield of a deposit in USDC, and calls of APIs. Only `chat` and"
    " `call_api` spend, never more than `max_usdc`. Ask `quote` first to see what a request may"
    " cost at most."
)
_KEY_TOKEN_ID: Final = re.compile(r"current_([0-9]+)_")
_READS: Final = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
_SPENDS: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True
)

_CREATES: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False
)

MaxUsdc = Annotated[
    str, Field(description="the most that the request may cost, in USDC, such as 0.05")
]
Prompt = Annotated[str, Field(min_length=1, description="what the model is asked")]
ModelName = Annotated[str, Field(description="a model's id from list_models, or cheapest")]
MaxTokens = Annotated[int, Field(ge=1, description="the longest answer, in tokens")]


class ToolAllowance(BaseModel):
    """What the key's position may spend."""

    position: str
    remaining_today: str
    unspent: str
    in_flight: str
    resets_at: str


class ToolModel(BaseModel):
    """One model and its prices for a million tokens."""

    id: str
    input_price: str
    output_price: str
    context_tokens: int | None


class ToolModels(BaseModel):
    """The models that can be asked."""

    models: list[ToolModel]


class ToolQuote(BaseModel):
    """What a request would cost at most, and whether it would be let through."""

    model: str
    at_most: str
    admitted: bool
    reason: str | None


class ToolAnswer(BaseModel):
    """A model's answer and what it cost."""

    text: str
    model: str
    cost: str
    request_id: str


class ToolUsageSum(BaseModel):
    """What the requests of one group cost together."""

    name: str
    requests: int
    cost: str


class ToolUsageSums(BaseModel):
    """What was charged, the dearest group first."""

    groups: list[ToolUsageSum]


class ToolReceipt(BaseModel):
    """What one request was charged, and how far its settlement is."""

    request_id: str
    state: str
    model: str
    cost: str
    prompt_tokens: int | None
    completion_tokens: int | None
    batch_id: str | None
    transaction: str | None


class ToolProof(BaseModel):
    """Whether a receipt's figures lead to the root that was settled."""

    request_id: str
    holds: bool
    reason: str | None
    receipts_root: str | None
    transaction: str | None = Field(description="whose root on chain this must be")


class ToolChildKey(BaseModel):
    """A new child key. It is shown once."""

    api_key: str
    key_id: str
    lifetime_limit: str
    day_limit: str | None
    expires_at: str | None


def usdc(amount_usdc: int) -> str:
    """Return an amount of 1e-6 USDC as a text with its unit."""
    return f"{format_usdc(amount_usdc)} USDC"


def build_server(
    ask: Ask,
    *,
    key: str | None = None,
    ask_market: AskMarket | None = None,
    market_key: str | None = None,
    creates_keys: bool = False,
) -> MCPServer:
    """Return the server.

    ``key``, ``market_key``: for callers that send none, as over standard input. ``ask_market``:
    None leaves the tools for APIs out. ``creates_keys``: whether a root key may make child keys.
    """
    server = MCPServer("current", title="Current", instructions=INSTRUCTIONS)

    async def call(
        context: Context[Any, Any], method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any]:
        return await ask(method, path, find_key(context.headers, key), body)

    @server.tool(annotations=_READS)
    async def get_allowance(context: Context[Any, Any]) -> ToolAllowance:
        """Say what the key's position may spend now."""
        found = _KEY_TOKEN_ID.match(find_key(context.headers, key))
        if found is None:
            raise ToolError("This is no key of a position.")
        view = await call(context, "GET", f"/positions/{found[1]}")
        allowance = view["allowance"]
        return ToolAllowance(
            position=found[1],
            remaining_today=usdc(allowance["remaining_today_usdc"]),
            unspent=usdc(allowance["unspent_usdc"]),
            in_flight=usdc(allowance["in_flight_usdc"]),
            resets_at=allowance["resets_at"],
        )

    @server.tool(annotations=_READS)
    async def list_models(context: Context[Any, Any]) -> ToolModels:
        """List the models that can be asked, with their prices."""
        listed = (await call(context, "GET", "/models"))["models"]
        priced = [one for one in listed if one["input_usdc_per_mtok"] is not None]
        return ToolModels(models=[_describe(one) for one in priced])

    @server.tool(annotations=_READS)
    async def quote(
        context: Context[Any, Any], model: ModelName, prompt: Prompt, max_tokens: MaxTokens = 1_000
    ) -> ToolQuote:
        """Say what a chat would cost at most, and whether it would be let through. Free."""
        told = await call(context, "POST", "/v1/quote", _build_chat(model, prompt, max_tokens))
        refusal = told["refusal"]
        return ToolQuote(
            model=told["model"],
            at_most=usdc(told["required_usdc"]),
            admitted=told["admitted"],
            reason=None if refusal is None else refusal["message"],
        )

    @server.tool(annotations=_SPENDS)
    async def chat(
        context: Context[Any, Any],
        model: ModelName,
        prompt: Prompt,
        max_usdc: MaxUsdc,
        max_tokens: MaxTokens = 1_000,
    ) -> ToolAnswer:
        """Ask a model, paid from the key's position: at most max_usdc, the real cost is told."""
        limit_usdc = read_most_usdc(max_usdc)
        body = {**_build_chat(model, prompt, max_tokens), "max_cost_usdc": limit_usdc}
        told = await call(context, "POST", "/v1/messages", body)
        texts = [block["text"] for block in told["content"] if block["type"] == "text"]
        return ToolAnswer(
            text="".join(texts),
            model=told["model"],
            cost=usdc(told["usage"]["cost"]),
            request_id=told["id"].removeprefix("msg_"),
        )

    @server.tool(annotations=_READS)
    async def usage_summary(context: Context[Any, Any], group_by: str = "model") -> ToolUsageSums:
        """Sum what was charged, by model, key, user, day or metadata.<name>."""
        told = await call(context, "GET", f"/usage?group_by={group_by}")
        return ToolUsageSums(
            groups=[
                ToolUsageSum(
                    name=one["name"] or "", requests=one["requests"], cost=usdc(one["cost_usdc"])
                )
                for one in told["groups"]
            ]
        )

    @server.tool(annotations=_READS)
    async def get_receipt(context: Context[Any, Any], request_id: str) -> ToolReceipt:
        """Return what one request was charged, and the batch that settles it on chain."""
        view = await call(context, "GET", f"/receipts/{_read_id(request_id)}")
        settlement = view["settlement"] or {}
        return ToolReceipt(
            request_id=view["request_id"],
            state=view["state"],
            model=view["model"],
            cost=usdc(view["cost_usdc"] or 0),
            prompt_tokens=view["prompt_tokens"],
            completion_tokens=view["completion_tokens"],
            batch_id=settlement.get("batch_id"),
            transaction=settlement.get("tx_hash"),
        )

    @server.tool(annotations=_READS)
    async def verify_receipt(context: Context[Any, Any], request_id: str) -> ToolProof:
        """Compute a settled receipt's leaf from its figures and follow its proof to the root.

        That the transaction has this root on chain is for a node of your own to say:
        `current receipt verify` asks one.
        """
        view = await call(context, "GET", f"/receipts/{_read_id(request_id)}")
        settlement = view["settlement"] or {}
        root, reason = None, None
        try:
            root = check_offline(dict(view))
        except ReceiptInvalid as error:
            reason = str(error)
        return ToolProof(
            request_id=view["request_id"],
            holds=root is not None,
            reason=reason,
            receipts_root=root,
            transaction=settlement.get("tx_hash"),
        )

    if ask_market is not None:
        add_api_tools(server, ask_market, market_key=market_key)
    if not creates_keys:
        return server

    @server.tool(annotations=_CREATES)
    async def create_child_key(
        context: Context[Any, Any],
        label: str,
        max_usdc: Annotated[str, Field(description="the most that it may ever use, in USDC")],
        day_max_usdc: Annotated[str | None, Field(description="in a UTC day, in USDC")] = None,
        models: Annotated[list[str] | None, Field(description="the only ones it may use")] = None,
        expires_at: Annotated[str | None, Field(description="ISO 8601")] = None,
    ) -> ToolChildKey:
        """Make a key with limits under the root key that asks, to hand to another program."""
        wish: dict[str, Any] = {"label": label, "lifetime_usdc_max": read_most_usdc(max_usdc)}
        if day_max_usdc is not None:
            wish["day_usdc_max"] = read_most_usdc(day_max_usdc)
        named = {"models": models, "expires_at": expires_at}
        wish |= {name: value for name, value in named.items() if value is not None}
        made = await call(context, "POST", "/keys/children", wish)
        day_usdc = made["day_usdc_max"]
        return ToolChildKey(
            api_key=made["apiKey"],
            key_id=made["keyId"],
            lifetime_limit=usdc(made["lifetime_usdc_max"]),
            day_limit=None if day_usdc is None else usdc(day_usdc),
            expires_at=made["expires_at"],
        )

    return server


def _read_id(request_id: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9-]{1,64}", request_id) is None:
        raise ToolError("request_id: not an id of a request.")
    return request_id


def find_key(headers: Mapping[str, str] | None, key: str | None) -> str:
    """Return the key that a call comes with. Raises ``ToolError`` without one."""
    said = (headers or {}).get("authorization", "")
    scheme, _, token = said.partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    if key is None:
        raise ToolError("No API key: send 'Authorization: Bearer current_…' with the request.")
    return key


def _build_chat(model: str, prompt: str, max_tokens: int) -> dict[str, Any]:
    turns = [{"role": "user", "content": prompt}]
    return {"model": model, "messages": turns, "max_tokens": max_tokens}


def _describe(model: Mapping[str, Any]) -> ToolModel:
    return ToolModel(
        id=model["id"],
        input_price=f"{usdc(model['input_usdc_per_mtok'])} per million tokens",
        output_price=f"{usdc(model['output_usdc_per_mtok'])} per million tokens",
        context_tokens=model["context_tokens"],
    )
