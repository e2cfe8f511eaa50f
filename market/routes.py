"""The ordinary routes: sign-in, offers, earnings, models, prices. Parse, call, translate."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from sqlalchemy import Connection, RowMapping

from contracts.units import utc_day
from ledger.market import (
    IdempotencyConflict,
    NewOffer,
    SealedKey,
    TooMany,
    change_offer,
    delete_offer,
    revoke_key,
    save_offer,
)
from market.dialects import MAX_TOKENS_CAP, Endpoint
from market.dialing import UrlRefused
from market.errors import (
    RequestRejected,
    bad_request,
    model_not_found,
    not_found,
    unavailable,
    wrong_type,
)
from market.front import answer_call, read_body
from market.ids import new_id
from market.keys import Role, digest_request, is_address
from market.markets import (
    build_csv,
    describe_book,
    describe_market,
    describe_model,
    describe_ranking,
    describe_reference,
)
from market.offers import (
    describe_offer,
    parse_change,
    parse_json,
    parse_new_offer,
    read_api_key,
    read_base_url,
    refused_url,
)
from market.pricing import Tokens
from market.provider import Access, SellerFailure, SellerRejected
from market.routing import Ask
from market.schemas import (
    ANY_CALL,
    CHAT,
    DISCOVER,
    KEY_REQUEST,
    NEW_OFFER,
    OFFER_CHANGE,
    ChallengeView,
    ErrorBody,
    KeyIssued,
)
from market.sealing import KmsUnavailable
from market.services import Services
from market.serving import StreamAnswer
from market.store import (
    KeyHolder,
    load_account,
    load_earning_totals,
    load_earnings,
    load_failures,
    load_keys,
    load_seller_offer,
    load_seller_offers,
)

router = APIRouter()

LABEL_MAX: Final = 100
PAGE_MAX: Final = 1_000
TIME_MAX_S: Final = 2**40
IDEMPOTENCY_KEY_MAX: Final = 200

_EARNING_COLUMNS: Final = (
    "sale_id",
    "resolved_at_s",
    "offer_id",
    "model",
    "endpoint",
    "prompt_tokens",
    "completion_tokens",
    "cost_usdc",
    "fee_bps",
    "fee_usdc",
    "earning_usdc",
    "payout_address",
    "payout_id",
    "payout_state",
)
_FAILURE_COLUMNS: Final = ("sale_id", "resolved_at_s", "offer_id", "model", "endpoint", "cause")


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorBody} for status in (*statuses, 500, 503)}


_SIGNED: Final = _errors(400, 401, 404, 405, 408, 409, 413, 415)
_CSV: Final = {**_SIGNED, 200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}
_OPEN: Final = _errors(400, 404, 405)


def _get_services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_get_services)]


async def _get_seller(request: Request, services: ServicesDep) -> KeyHolder:
    header = request.headers.get("authorization")
    return await services.authenticator.authenticate(header, Role.SELLER)


async def _get_buyer(request: Request, services: ServicesDep) -> KeyHolder:
    header = request.headers.get("authorization")
    return await services.authenticator.authenticate(header, Role.BUYER)


SellerDep = Annotated[KeyHolder, Depends(_get_seller)]
BuyerDep = Annotated[KeyHolder, Depends(_get_buyer)]
TimeQuery = Annotated[int | None, Query(ge=0, le=TIME_MAX_S)]
IdPath = Annotated[str, Path(max_length=64)]

# ---------------------------------------------------------------------------------------- sign-in


def _add_sign_in(role: Role) -> None:
    prefix = f"/v1/{role}/auth"
    holder_dep = _get_seller if role is Role.SELLER else _get_buyer

    @router.get(
        f"{prefix}/challenge",
        response_model=ChallengeView,
        responses=_OPEN,
        name=f"{role}_challenge",
    )
    async def challenge(
        services: ServicesDep, address: Annotated[str, Query(max_length=64)]
    ) -> ChallengeView:
        """Return a message by EIP-4361 for a wallet to sign within five minutes, once."""
        if not is_address(address):
            raise wrong_type("address", "an Ethereum address")
        made = services.authenticator.build_challenge(role, address)
        return ChallengeView(message=made.message, nonce=made.nonce, expires_at=made.expires_at_s)

    @router.post(
        f"{prefix}/keys",
        response_model=KeyIssued,
        status_code=201,
        responses=_SIGNED,
        openapi_extra=KEY_REQUEST,
        name=f"{role}_issue_key",
    )
    async def issue(request: Request, services: ServicesDep) -> KeyIssued:
        """Trade a signed challenge for a key, which is shown this once."""
        body = parse_json(await read_body(request.scope, request.receive, services))
        label = _read_string(body, "label", default="", length_max=LABEL_MAX)
        expires_at_s = _read_expiry(body)
        issued = await services.authenticator.issue_key(
            role,
            message=_read_string(body, "message", length_max=10_000),
            signature=_read_string(body, "signature", length_max=100_000),
            label=label,
            expires_at_s=expires_at_s,
        )
        return KeyIssued(
            key_id=issued.key_id, api_key=issued.text, label=label, expires_at=expires_at_s
        )

    @router.get(f"{prefix}/keys", responses=_SIGNED, name=f"{role}_list_keys")
    async def list_keys(
        services: ServicesDep, holder: Annotated[KeyHolder, Depends(holder_dep)]
    ) -> dict[str, Any]:
        """List the keys of the wallet; none of them can be shown again."""
        rows = await services.database.read(
            lambda connection: load_keys(connection, kind=role, owner=holder.owner)
        )
        return {"keys": [_describe_key(row) for row in rows]}

    @router.delete(f"{prefix}/keys/{{key_id}}", responses=_SIGNED, name=f"{role}_revoke_key")
    async def revoke(
        services: ServicesDep,
        holder: Annotated[KeyHolder, Depends(holder_dep)],
        key_id: IdPath,
    ) -> dict[str, Any]:
        """Revoke a key of the wallet, at once and for good."""
        now_s = int(time.time())
        found = await services.database.write(
            lambda connection: revoke_key(
                connection, kind=role, owner=holder.owner, key_id=key_id, now_s=now_s
            )
        )
        services.authenticator.forget()
        if not found:
            raise not_found("key")
        return {"key_id": key_id, "revoked": True}


_add_sign_in(Role.SELLER)
_add_sign_in(Role.BUYER)


def _read_string(
    body: Mapping[str, Any], name: str, *, length_max: int, default: str | None = None
) -> str:
    value = body.get(name, default)
    if not isinstance(value, str) or len(value) > length_max or not _is_storable(value):
        raise wrong_type(name, f"a string of at most {length_max} characters")
    return value


def _is_storable(text: str) -> bool:
    # PostgreSQL has no NUL in texts, and a lone surrogate is no character.
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


def _read_expiry(body: Mapping[str, Any]) -> int | None:
    value = body.get("expires_at")
    if value is None:
        return None
    if type(value) is not int or not time.time() < value <= TIME_MAX_S:
        raise wrong_type("expires_at", "a time to come, in Unix seconds")
    return int(value)


def _describe_key(row: RowMapping) -> dict[str, Any]:
    return {
        "key_id": row["key_id"],
        "label": row["label"],
        "created_at": row["created_at_s"],
        "expires_at": row["expires_at_s"],
        "revoked_at": row["revoked_at_s"],
    }


# ----------------------------------------------------------------------------------------- offers


@router.post("/v1/seller/offers", status_code=201, responses=_SIGNED, openapi_extra=NEW_OFFER)
async def create_offer(
    request: Request, services: ServicesDep, seller: SellerDep
) -> dict[str, Any]:
    """List an offer. With an Idempotency-Key the same request makes one offer only."""
    raw = await read_body(request.scope, request.receive, services)
    wish = parse_new_offer(
        parse_json(raw), seller=seller.owner, allow_loopback=services.allow_loopback
    )
    idempotency_key = _read_idempotency_key(request)
    columns = wish.columns
    await _check_host(services, columns["seller_base_url"])
    if columns["cost_multiplier_ppm"] is not None:
        _check_reference(services, columns["model"])
    assert wish.api_key is not None
    offer_id = new_id()
    sealed = await _seal(services, wish.api_key, offer_id)
    offer = NewOffer(
        offer_id=offer_id,
        seller=seller.owner,
        idempotency_key=idempotency_key,
        request_digest=None if idempotency_key is None else digest_request(services.secret, raw),
        **columns,
    )
    now_s = int(time.time())
    try:
        stored_id = await services.database.write(
            lambda connection: save_offer(connection, offer, sealed, now_s=now_s)
        )
    except IdempotencyConflict:
        message = "The Idempotency-Key was used for another offer."
        raise RequestRejected(409, "idempotency_conflict", message) from None
    except TooMany as error:
        raise RequestRejected(409, "too_many_offers", f"{error}.") from None
    await services.book.refresh_offers([stored_id])
    return await _load_offer(services, seller, stored_id)


@router.get("/v1/seller/offers", responses=_SIGNED)
async def list_offers(services: ServicesDep, seller: SellerDep) -> dict[str, Any]:
    """List the seller's offers."""
    rows = await services.database.read(
        lambda connection: load_seller_offers(connection, seller=seller.owner)
    )
    return {"offers": [_describe_offer(services, row) for row in rows]}


@router.get("/v1/seller/offers/{offer_id}", responses=_SIGNED)
async def get_offer(services: ServicesDep, seller: SellerDep, offer_id: IdPath) -> dict[str, Any]:
    """Return one of the seller's offers."""
    return await _load_offer(services, seller, offer_id)


@router.patch("/v1/seller/offers/{offer_id}", responses=_SIGNED, openapi_extra=OFFER_CHANGE)
async def patch_offer(
    request: Request, services: ServicesDep, seller: SellerDep, offer_id: IdPath
) -> dict[str, Any]:
    """Change what is named; requests in flight keep their price."""
    raw = await read_body(request.scope, request.receive, services)
    body = parse_json(raw)
    row = await services.database.read(
        lambda connection: load_seller_offer(connection, seller=seller.owner, offer_id=offer_id)
    )
    if row is None:
        raise not_found("offer")
    wish = parse_change(body, row, allow_loopback=services.allow_loopback)
    if "seller_base_url" in wish.columns:
        await _check_host(services, wish.columns["seller_base_url"])
    if wish.columns.get("cost_multiplier_ppm") is not None:
        _check_reference(services, row["model"])
    sealed = None
    if wish.api_key is not None:
        sealed = await _seal(services, wish.api_key, offer_id)
    now_s = int(time.time())
    found = await services.database.write(
        lambda connection: change_offer(
            connection,
            offer_id=offer_id,
            seller=seller.owner,
            changes=wish.columns,
            sealed=sealed,
            now_s=now_s,
        )
    )
    if not found:
        raise not_found("offer")
    services.book.forget_access(offer_id)
    await services.book.refresh_offers([offer_id])
    return await _load_offer(services, seller, offer_id)


@router.delete("/v1/seller/offers/{offer_id}", responses=_SIGNED)
async def remove_offer(
    services: ServicesDep, seller: SellerDep, offer_id: IdPath
) -> dict[str, Any]:
    """Take an offer down and erase its key. Again is harmless."""
    now_s = int(time.time())
    found = await services.database.write(
        lambda connection: delete_offer(
            connection, offer_id=offer_id, seller=seller.owner, now_s=now_s
        )
    )
    if not found:
        raise not_found("offer")
    services.book.forget_access(offer_id)
    await services.book.refresh_offers([offer_id])
    await services.database.scrub()
    return {"id": offer_id, "deleted": True}


@router.post("/v1/seller/discover", responses=_SIGNED, openapi_extra=DISCOVER)
async def discover(request: Request, services: ServicesDep, seller: SellerDep) -> dict[str, Any]:
    """List what a provider key can serve, with reference prices. The key is not kept."""
    del seller  # only sellers may have us call an address
    body = parse_json(await read_body(request.scope, request.receive, services))
    unknown = sorted(body.keys() - {"api_key", "seller_base_url"})
    if unknown:
        raise bad_request("unknown_field", f"{unknown[0][:60]!r} is not a field here.")
    base_url = read_base_url(body.get("seller_base_url"), allow_loopback=services.allow_loopback)
    access = Access(base_url, read_api_key(body.get("api_key")))
    await _check_host(services, base_url)
    try:
        models = await services.provider.fetch_models(access)
    except SellerFailure as failure:
        message = f"The provider did not list its models ({failure.cause})."
        raise RequestRejected(400, "discovery_failed", message) from None
    except SellerRejected as error:
        raise RequestRejected(400, "discovery_failed", error.message) from None
    references = services.book.references
    return {"models": [describe_reference(name, references.find(name)) for name in models]}


def _read_idempotency_key(request: Request) -> str | None:
    key = request.headers.get("idempotency-key")
    if key is not None and not (0 < len(key) <= IDEMPOTENCY_KEY_MAX and key.isprintable()):
        message = f"Idempotency-Key is 1 to {IDEMPOTENCY_KEY_MAX} printable characters."
        raise bad_request("invalid_idempotency_key", message)
    return key


async def _check_host(services: Services, base_url: str) -> None:
    """Refuse a host that is not public now. One that is unknown is found out by the first call."""
    try:
        await services.dialer.check(base_url)
    except UrlRefused as error:
        raise refused_url(error) from None


def _check_reference(services: Services, model: str) -> None:
    if services.book.references.find(model) is None:
        message = f"{model!r} has no reference price to multiply: give prices."
        raise bad_request("no_reference_price", message, param="cost_multiplier")


async def _seal(services: Services, api_key: str, offer_id: str) -> SealedKey:
    try:
        return await services.seal(api_key, offer_id)
    except KmsUnavailable as error:
        message = "The key cannot be sealed just now, so it is not taken."
        raise unavailable("kms_unavailable", message) from error


async def _load_offer(services: Services, seller: KeyHolder, offer_id: str) -> dict[str, Any]:
    row = await services.database.read(
        lambda connection: load_seller_offer(connection, seller=seller.owner, offer_id=offer_id)
    )
    if row is None:
        raise not_found("offer")
    return _describe_offer(services, row)


def _describe_offer(services: Services, row: RowMapping) -> dict[str, Any]:
    health = services.book.find_health(row["offer_id"])
    return {**describe_offer(row, day=utc_day(int(time.time()))), "health": health}


# ------------------------------------------------------------------------- earnings, health log

Load = Callable[..., Sequence[RowMapping]]


async def _load_page(
    services: Services,
    seller: KeyHolder,
    load: Load,
    *,
    from_s: int | None,
    until_s: int | None,
    cursor: str | None,
    limit: int,
) -> Sequence[RowMapping]:
    def query(connection: Connection) -> Sequence[RowMapping]:
        return load(
            connection,
            seller=seller.owner,
            from_s=0 if from_s is None else from_s,
            until_s=TIME_MAX_S if until_s is None else until_s,
            after=cursor or "",
            limit=limit,
        )

    return await services.database.read(query)


Cursor = Annotated[str | None, Query(max_length=64, pattern="^[0-9a-f.-]*$")]
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX)]


@router.get("/v1/seller/earnings", responses=_SIGNED)
async def get_earnings(
    services: ServicesDep,
    seller: SellerDep,
    from_s: TimeQuery = None,
    until_s: TimeQuery = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> dict[str, Any]:
    """Return what the seller earned, sale by sale, with the fee of each; amounts in 1e-6 USDC."""
    rows = await _load_page(
        services, seller, load_earnings, from_s=from_s, until_s=until_s, cursor=cursor, limit=limit
    )
    totals = await services.database.read(
        lambda connection: load_earning_totals(connection, seller=seller.owner)
    )
    next_cursor = rows[-1]["sale_id"] if len(rows) == limit else None
    return {"totals": totals, "earnings": [dict(row) for row in rows], "next_cursor": next_cursor}


@router.get("/v1/seller/earnings.csv", responses=_CSV)
async def get_earnings_csv(
    services: ServicesDep,
    seller: SellerDep,
    from_s: TimeQuery = None,
    until_s: TimeQuery = None,
    cursor: Cursor = None,
    limit: Limit = PAGE_MAX,
) -> Response:
    """Return the same as CSV."""
    rows = await _load_page(
        services, seller, load_earnings, from_s=from_s, until_s=until_s, cursor=cursor, limit=limit
    )
    return _csv(rows, _EARNING_COLUMNS)


@router.get("/v1/seller/health-log", responses=_SIGNED)
async def get_health_log(
    services: ServicesDep,
    seller: SellerDep,
    from_s: TimeQuery = None,
    until_s: TimeQuery = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> dict[str, Any]:
    """Return the requests that the seller's offers failed, by cause, and how they stand now."""
    rows = await _load_page(
        services, seller, load_failures, from_s=from_s, until_s=until_s, cursor=cursor, limit=limit
    )
    offers = await services.database.read(
        lambda connection: load_seller_offers(connection, seller=seller.owner)
    )
    next_cursor = rows[-1]["sale_id"] if len(rows) == limit else None
    return {
        "offers": [
            {"id": row["offer_id"], "health": services.book.find_health(row["offer_id"])}
            for row in offers
        ],
        "failures": [dict(row) for row in rows],
        "next_cursor": next_cursor,
    }


@router.get("/v1/seller/health-log.csv", responses=_CSV)
async def get_health_log_csv(
    services: ServicesDep,
    seller: SellerDep,
    from_s: TimeQuery = None,
    until_s: TimeQuery = None,
    cursor: Cursor = None,
    limit: Limit = PAGE_MAX,
) -> Response:
    """Return the failures as CSV."""
    rows = await _load_page(
        services, seller, load_failures, from_s=from_s, until_s=until_s, cursor=cursor, limit=limit
    )
    return _csv(rows, _FAILURE_COLUMNS)


def _csv(rows: Sequence[RowMapping], columns: Sequence[str]) -> Response:
    text = build_csv([dict(row) for row in rows], columns)
    return PlainTextResponse(text, media_type="text/csv")


# ----------------------------------------------------------------------------------------- buyers


@router.get("/v1/buyer/account", responses=_SIGNED)
async def get_account(services: ServicesDep, buyer: BuyerDep) -> dict[str, Any]:
    """Return the buyer's credit, in 1e-6 USDC."""
    row = await services.database.read(lambda connection: load_account(connection, buyer.owner))
    if row is None:
        raise not_found("account")
    credited, spent, reserved = (
        int(row[name]) for name in ("credited_usdc", "spent_usdc", "reserved_usdc")
    )
    return {
        "account_id": row["account_id"],
        "credited_usdc": credited,
        "spent_usdc": spent,
        "reserved_usdc": reserved,
        "available_usdc": credited - spent - reserved,
    }


def _add_inference(endpoint: Endpoint) -> None:
    """Document an endpoint, and serve it where the front did not."""
    extra = CHAT if endpoint is Endpoint.CHAT else ANY_CALL

    @router.post(
        f"/v1/{endpoint}",
        responses=_errors(400, 401, 402, 404, 405, 408, 409, 413, 415, 422, 502),
        openapi_extra=extra,
        name=endpoint.replace("/", "_"),
    )
    async def infer(request: Request, services: ServicesDep) -> Response:
        """Serve a request from the cheapest seller who may serve it. Also below /min{N}, but for
        embeddings: then only from sellers N % or more below the reference price."""
        answer = await answer_call(
            request.scope,
            request.receive,
            services,
            endpoint=endpoint,
            minimum_pct=None,
            request_id=new_id(),
        )
        if isinstance(answer, StreamAnswer):
            return StreamingResponse(answer.stream.events(), headers=dict(answer.headers))
        return Response(answer.body, answer.status, dict(answer.headers))


for _endpoint in Endpoint:
    _add_inference(_endpoint)


# ----------------------------------------------------------------------------------------- public


@router.get("/v1/models", responses=_OPEN)
async def list_models(services: ServicesDep) -> dict[str, Any]:
    """List the models that somebody sells, as OpenAI does."""
    references = services.book.references
    names = sorted(
        model
        for model, shelf in services.book.shelves.items()
        if any(offer.is_active for offer in shelf)
    )
    return {
        "object": "list",
        "data": [describe_model(name, references.find(name)) for name in names],
    }


@router.get("/v1/prices", responses=_OPEN)
async def list_prices(services: ServicesDep) -> dict[str, Any]:
    """Return the reference price and the best price of each model."""
    return {"data": _describe_markets(services)}


@router.get("/api/markets", responses=_OPEN)
async def list_markets(services: ServicesDep) -> dict[str, Any]:
    """Return each model's market in short."""
    return {"markets": _describe_markets(services)}


def _describe_markets(services: Services) -> list[dict[str, Any]]:
    book = services.book
    return [
        describe_market(model, shelf, book.references.find(model), book.get_state)
        for model, shelf in sorted(book.shelves.items())
    ]


@router.get("/api/markets/{model:path}", responses=_OPEN)
async def get_market(
    services: ServicesDep, model: Annotated[str, Path(max_length=200)]
) -> dict[str, Any]:
    """Return the book of one model: its offers, and what they can still sell."""
    book = services.book
    shelf = book.get_shelf(model)
    if shelf is None:
        raise model_not_found(model)
    return describe_book(model, shelf, book.references.find(model), book.get_state)


@router.get("/v1/route/explain", responses=_OPEN)
async def explain_route(
    services: ServicesDep,
    model: Annotated[str, Query(min_length=1, max_length=200)],
    prompt_tokens: Annotated[int, Query(ge=0, le=10_000_000)] = 1_000,
    max_tokens: Annotated[int, Query(ge=0, le=MAX_TOKENS_CAP)] = 1_000,
    min_discount_pct: Annotated[int | None, Query(ge=0, le=100)] = None,
) -> dict[str, Any]:
    """Return the offers in the order in which they would be tried, and why others would not."""
    tokens = Tokens(prompt_tokens, max_tokens)
    reference = services.book.references.find(model)
    ask = Ask(
        model=model,
        estimate=tokens,
        bound=tokens,
        direct=None if reference is None else reference.price,
        minimum_discount_pct=min_discount_pct,
    )
    return describe_ranking(services.serving.rank(ask), ask)


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Tell that the process lives."""
    return {"status": "ok"}


@router.get("/readyz", responses=_errors())
async def readyz(services: ServicesDep) -> Response:
    """Tell whether the ledger answers."""
    await services.book.refresh()
    return JSONResponse({"status": "ok", "models": len(services.book.shelves)})
