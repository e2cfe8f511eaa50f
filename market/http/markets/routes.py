"""What everybody may see: models, prices, markets, how a request would be routed."""

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from itertools import chain
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response

from market.errors import model_not_found
from market.http.dependencies import BUYER_KEY, OPEN, ServicesDep
from market.http.markets.describing import (
    describe_book_offer,
    describe_market,
    describe_model,
    describe_prices,
    describe_ranking,
    describe_reference,
    find_depth_usd,
)
from market.http.markets.feed import describe_event
from market.http.markets.schemas import (
    GRADE,
    FeedPage,
    MarketList,
    ModelBook,
    ModelEntry,
    ModelList,
    OwnProviderEstimate,
    PriceList,
    RouteExplained,
)
from market.http.prices import UnitName
from market.identity.keys import Role
from market.listing.book_pages import PAGE_MAX, parse_place, take_shelves
from market.listing.feed import FEED_MAX, load_feed, parse_cursor
from market.pricing.media_units import UNITS, Base, find_price, get_base, list_tiers
from market.records.store import KeyHolder
from market.routing.filters import read_minimum
from market.routing.own_providers import FEE_USDC
from market.routing.ranking import Ask, Offer, Ranking
from market.routing.sessions import Session
from market.services import Services
from market.text.requests import LIMITS
from serving.dialects.policy import parse_policy
from serving.http.document.schemas import errors_of
from serving.http.errors import ApiError, bad_request
from serving.http.strict_json import parse_json_object
from serving.models.grades import Grade, get_stricter, meets
from serving.models.prices import Tokens

router = APIRouter(tags=["markets"])


def find_minimum(
    x_market_min_grade: Annotated[str | None, Header(description=f"the lowest {GRADE}")] = None,
) -> Grade:
    """Return the lowest grade of offers that a list is to count. Raises ``RequestRejected``."""
    return read_minimum(x_market_min_grade) or Grade.OTHER


MinimumDep = Annotated[Grade, Depends(find_minimum)]


@router.get("/v1/models", responses=OPEN, response_model=ModelList)
async def list_models(services: ServicesDep, minimum: MinimumDep) -> Response:
    """List the models that are sold here, as OpenAI does: those with a reference price first."""

    def build() -> ModelList:
        find_reference = services.book.find_reference
        sold = (
            (model, served) for model, served in _list_served(services, minimum) if _is_sold(served)
        )
        return ModelList(
            data=[describe_model(name, served, find_reference(name)) for name, served in sold]
        )

    return services.lists.answer(f"models{minimum}", _count_served(services), build)


def _list_served(
    services: Services, minimum: Grade = Grade.OTHER
) -> Iterator[tuple[str, Mapping[Base, Collection[Offer]]]]:
    """Yield the listed models and what serves them where a request does not say whom it trusts.

    Names that no reference has stand behind all others: strangers choose them.
    """
    book = services.book
    for model in sorted(book.shelves, key=lambda one: (book.find_reference(one) is None, one)):
        served = _take_graded(services.serving.list_served(book.shelves[model]), minimum)
        if served:
            yield model, served


def _count_served(services: Services) -> int:
    """Return how many offers those lists are made of."""
    book = services.book
    trusted = book.count_offers(is_trusted=True)
    if services.serving.find_trust(None):
        return trusted
    return trusted + book.count_offers(is_trusted=False)


def _take_graded(
    served: Mapping[Base, Collection[Offer]], minimum: Grade
) -> Mapping[Base, Collection[Offer]]:
    """Return the offers that are of a grade at least, by what they count."""
    if minimum is Grade.OTHER:
        return served
    found = {
        base: [offer for offer in offers if meets(offer.grade, minimum)]
        for base, offers in served.items()
    }
    return {base: offers for base, offers in found.items() if offers}


@router.get("/v1/models/{model:path}", responses=OPEN)
async def get_model(
    services: ServicesDep, model: Annotated[str, Path(max_length=200)]
) -> ModelEntry:
    """Return one model that is sold here, as OpenAI does."""
    served = services.serving.list_served(services.book.shelves.get(model, {}))
    if not _is_sold(served):
        raise model_not_found(model)
    return describe_model(model, served, services.book.find_reference(model))


def _is_sold(served: Mapping[Base, Collection[Offer]]) -> bool:
    return any(offer.is_active for offers in served.values() for offer in offers)


@router.get("/v1/prices", responses=OPEN, response_model=PriceList)
async def list_prices(services: ServicesDep, minimum: MinimumDep) -> Response:
    """Return the reference price of each model, and the best price that it is sold at now, of the
    offers that serve where a request does not say whom it trusts.

    A client that prices by this list finds ``input_usdc_per_mtok`` and ``output_usdc_per_mtok``
    beside the id, and when that was, ``updated_at``.
    """
    book = services.book

    def build() -> PriceList:
        now = datetime.fromtimestamp(services.database.clock.now(), UTC)
        return PriceList(
            data=[
                describe_prices(model, served, book.find_reference(model), book.get_state, now=now)
                for model, served in _list_served(services, minimum)
            ]
        )

    return services.lists.answer(f"prices{minimum}", _count_served(services), build)


@router.get("/api/markets", responses=OPEN, response_model=MarketList)
async def list_markets(services: ServicesDep) -> Response:
    """Return each model's market in short."""
    book = services.book

    def build() -> MarketList:
        return MarketList(
            markets=[
                describe_market(model, served, book.find_reference(model), book.get_state)
                for model, served in _list_served(services)
            ]
        )

    return services.lists.answer("markets", _count_served(services), build)


@router.get("/api/markets/{model:path}", responses=OPEN)
async def get_market(
    services: ServicesDep,
    model: Annotated[str, Path(max_length=200)],
    cursor: Annotated[str | None, Query(max_length=200)] = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
) -> ModelBook:
    """Return the book of one model: its offers, a page at a time, and what they can still sell.

    Offers of sellers that a request has to ask for come last.
    """
    book = services.book
    shelves = book.shelves.get(model)
    if shelves is None:
        raise model_not_found(model)
    after = None if cursor is None else parse_place(cursor)
    if cursor is not None and after is None:
        raise bad_request("invalid_cursor", "'cursor' is not one of this book.", param="cursor")
    reference = book.find_reference(model)
    trusted_only = services.serving.find_trust(None)
    page, last = take_shelves(shelves, after=after, limit=limit, trusted_only=trusted_only)
    served = services.serving.list_served(shelves)
    depth_usd = services.lists.keep(
        f"depth {model}",
        sum(map(len, served.values())),
        lambda: find_depth_usd(chain.from_iterable(served.values()), book.get_state),
    )
    return ModelBook(
        **dict(describe_reference(model, reference)),
        offers=[
            describe_book_offer(
                offer, reference, book.get_state(offer), book.report_measured(offer.offer_id)
            )
            for offer in page
        ],
        serviceable_depth_usd=depth_usd,
        next_cursor=None if last is None else str(last),
    )


@router.get("/v1/route/explain", responses={**OPEN, **errors_of(401)}, dependencies=BUYER_KEY)
async def explain_route(
    request: Request,
    services: ServicesDep,
    model: Annotated[str, Query(min_length=1, max_length=200)],
    prompt_tokens: Annotated[int, Query(ge=0, le=10_000_000)] = 1_000,
    max_tokens: Annotated[int, Query(ge=0, le=LIMITS.cap)] = 1_000,
    unit: Annotated[UnitName | None, Query(description="of a medium, in place of tokens")] = None,
    quantity: Annotated[int, Query(ge=1, le=1_000_000, description="of the unit")] = 1,
    min_discount_pct: Annotated[int | None, Query(ge=0, le=100)] = None,
    minimum_grade: Annotated[Grade, Query(description=GRADE)] = Grade.OTHER,
    session: Annotated[
        str | None,
        Query(max_length=200, description="what requests call their session; needs a buyer's key"),
    ] = None,
    provider: Annotated[
        str | None, Query(max_length=8_192, description="a request's `provider`, as JSON")
    ] = None,
) -> RouteExplained:
    """Return the offers in the order in which they would be tried, and why others would not.

    Offers of sellers that the request does not take are counted (`not_shown`) and not looked at.
    With a buyer's key also the buyer's own providers, which are asked before or after them, and
    the seller that the requests of a named session stay with.
    """
    policy = parse_policy(None if provider is None else parse_json_object(provider.encode()))
    tokens = Tokens(prompt_tokens, max_tokens)
    if unit is not None:
        tokens = Tokens(quantity * UNITS[unit].quantity, 0)
    own: list[OwnProviderEstimate] | None = None
    buyer: KeyHolder | None = None
    stays_with: Session | None = None
    header = request.headers.get("authorization")
    if header is not None:
        buyer = await services.identify(header, Role.BUYER)
        own = _describe_own(services, buyer.owner, model)
        if session and unit is None:
            stays_with = services.serving.name_session(buyer.owner, model, session)
    base = get_base(unit)
    reference = services.book.find_reference(model)
    ask = Ask(
        model=model,
        estimate=tokens,
        bound=tokens,
        direct=find_price(reference, base, prompt_tokens=tokens.prompt),
        direct_tiers=list_tiers(reference, base),
        minimum_discount_pct=min_discount_pct,
        trusted_only=policy.trusted_only or services.serving.find_trust(None, buyer),
        policy=policy,
        input_usdc_per_mtok_max=policy.input_usdc_per_mtok_max,
        output_usdc_per_mtok_max=policy.output_usdc_per_mtok_max,
        per_request_usdc_max=policy.per_request_usdc_max,
        minimum_grade=get_stricter(minimum_grade, policy.minimum_grade) or minimum_grade,
        base=base,
        session=stays_with,
    )
    try:
        ranking = services.serving.rank(ask)
    except ApiError:
        if not own:
            raise
        ranking = Ranking((), ())
    return describe_ranking(ranking, ask, own)


def _describe_own(services: Services, account_id: str, model: str) -> list[OwnProviderEstimate]:
    own_providers = services.serving.own_providers
    return [
        OwnProviderEstimate(
            provider_id=own.provider_id,
            label=own.label,
            position=own.position,
            health=own_providers.look_at(own),
            estimated_cost_usdc=FEE_USDC,
        )
        for own in own_providers.find(account_id, model)
    ]


@router.get("/feed", responses=OPEN)
async def get_feed(
    services: ServicesDep,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=FEED_MAX)] = 50,
) -> FeedPage:
    """Return what happened lately: sales without names, and offers as they change. Newest first."""
    after = None if cursor is None else parse_cursor(cursor)
    if cursor is not None and after is None:
        raise bad_request("invalid_cursor", "'cursor' is not one of this feed.", param="cursor")
    now_s = services.database.now_s()
    events = await services.database.read(
        lambda connection: load_feed(connection, after=after, limit=limit, now_s=now_s)
    )
    return FeedPage(
        events=[describe_event(at, row, services.book.names.providers) for at, row in events],
        next_cursor=str(events[-1][0]) if len(events) == limit else None,
    )
