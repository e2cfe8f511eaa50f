"""Admission of a chat completion: read it, price it, reserve for it, or say why not."""

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Protocol

from ledger.errors import RequestRepeated, ReserveRefused
from ledger.spending.metering import Reserved
from ledger.tables.usage import Reservation
from proxy.chain_view import ChainView
from proxy.chat.meter import Meter
from proxy.chat.model_choice import ModelOption, list_options
from proxy.chat.policy_choice import PolicyChoice
from proxy.chat.request import (
    AS_CHAT,
    CHEAPEST,
    LIMITS,
    Manner,
    MeteredRequest,
    parse_request,
    read_labels,
    read_user,
)
from proxy.errors import max_cost_exceeded
from proxy.graded_lists import GradedLists
from proxy.keys.authentication import check_standing
from proxy.keys.policies import KeyPolicies
from proxy.keys.tokens import KeyClaims
from proxy.model_aliases import ModelAliases
from proxy.money_refusals import needs_outlook, refused
from proxy.store import load_models
from proxy.tracing import Span, no_span
from serving.dialects.call import Call, LimitRules
from serving.dialects.endpoints import Endpoint
from serving.dialects.policy import POLICY_FIELD, join_policies
from serving.http.answers import Answer, StreamAnswer
from serving.http.errors import ApiError
from serving.http.repeat_keys import RepeatKey
from serving.http.repeated import Repeats
from serving.models.counting import Sent
from serving.models.usage import TOKENS_MAX

QUOTED_OFFERS_MAX: Final = 100
NO_ALIASES: Final = ModelAliases()


@dataclass(slots=True)
class Wish:
    """A request as it came: whose it is, its body, and how it asks."""

    claims: KeyClaims
    raw: bytes
    manner: Manner = AS_CHAT
    attempt: int = 0
    """Which of its models is asked now."""
    models: tuple[str, ...] = ()
    """The models that it names, to be tried in order: known once it was read; empty: just one."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request that has its reservation."""

    request_id: str
    claims: KeyClaims
    request: MeteredRequest
    offer: ModelOption
    """The reserved option: with ``fit``, its output limit may be lower than asked for."""
    hold_left_usdc: int
    repeat: RepeatKey | None
    """What the request's idempotency key comes to, if it has one."""

    @property
    def call(self) -> Call:
        """The body that is sent to upstream."""
        return self.request.call

    def build_body(self, without: frozenset[str]) -> bytes:
        """Return the JSON for upstream, without additions that the model refuses."""
        return self.call.build_body(
            model=self.offer.model, max_tokens=self.offer.max_tokens, without=without
        )

    def get_sent(self) -> Sent:
        """Return what upstream is sent, as far as it bounds what is charged."""
        offer, call = self.offer, self.call
        return Sent(
            prompt_estimate=offer.estimate.prompt,
            prompt_bound=offer.prompt_bound,
            output_bound=offer.max_tokens * call.choices,
            choices=call.choices,
            # The operator's provider is believed what it read from its cache, up to the ceiling.
            cached_bound=TOKENS_MAX,
        )


class _ReserveStep(Protocol):
    """``Meter.reserve``, or ``Meter.preview``."""

    async def __call__(
        self,
        reservation: Reservation,
        *,
        fit: Callable[[int], int] | None,
        generation: int | None,
    ) -> Reserved: ...


class Admission:
    """Lets requests through that the ledger has a reservation for."""

    def __init__(
        self,
        *,
        meter: Meter,
        lists: GradedLists,
        chain_view: ChainView,
        repeats: Repeats,
        limits: LimitRules = LIMITS,
        aliases: ModelAliases = NO_ALIASES,
        policies: KeyPolicies | None = None,
        choice: PolicyChoice | None = None,
        passes: Collection[str] = (),
        span: Span = no_span,
    ) -> None:
        self._limits = limits
        self._aliases = aliases
        self._policies = policies
        self._choice = choice
        self._passes = passes
        self._meter = meter
        self._lists = lists
        self._chain_view = chain_view
        self._repeats = repeats
        self._span = span

    async def quote(self, claims: KeyClaims, raw: bytes, request_id: str) -> dict[str, Any]:
        """Return what a completion of the same body would reserve, and whether it could.

        Writes nothing. Raises ``ApiError`` for a request that is invalid for every key.
        """
        await check_standing(claims, self._meter)
        request, offers = await self._read(Wish(claims, raw))
        offer = offers[0]
        applied, left_usdc, refusal = offer, None, None
        try:
            applied, left_usdc = await _reserve(
                self._meter.preview, request_id, claims, request, offer
            )
        except ReserveRefused as refused_by_ledger:
            refusal = await self._explain(claims, refused_by_ledger, fit=request.fit)
        return {
            "admitted": refusal is None,
            "refusal": None if refusal is None else refusal.describe(),
            "model": offer.model,
            "required_usdc": applied.ceiling_usdc,
            "max_tokens_applied": applied.max_tokens,
            "max_tokens_requested": request.call.requested_max_tokens,
            "choices": request.call.choices,
            "fit": request.fit,
            "remaining_usdc": left_usdc,
            "offers": [candidate.describe() for candidate in offers[:QUOTED_OFFERS_MAX]],
        }

    async def _read(self, wish: Wish) -> tuple[MeteredRequest, list[ModelOption]]:
        """Read a request and price it; the best offer comes first. Raises ``ApiError``."""
        claims = wish.claims
        aliases = self._aliases
        manner = wish.manner
        if manner.dialect is not None and manner.dialect.name in self._passes:
            manner = replace(manner, endpoint=Endpoint(manner.dialect.name))
        request = parse_request(wish.raw, self._limits, manner=manner, aliases=aliases)
        asked = request.models[wish.attempt] if request.models else request.call.model
        wish.models = request.models
        request = self._narrow(request, claims)
        name = self._aliases.resolve(asked)
        models = None
        if claims.is_child and name == CHEAPEST:
            # The ledger checks the model that is chosen; here it may still be another one.
            models = await self._meter.read(lambda connection: load_models(connection, claims))
        catalogue = await self._lists.load(request.minimum_grade)
        offers = await list_options(
            request, catalogue, catalogue.prices, name=name, models=models, choose=self._choice
        )
        if request.policies and offers[0].terms.source == "upstream":
            told = {POLICY_FIELD: join_policies(request.policies)}
            request = replace(request, call=replace(request.call, beside=told))
        if request.max_cost_usdc is not None:
            offers[0] = _keep_below(offers[0], request, request.max_cost_usdc)
        return request, offers

    def _narrow(self, request: MeteredRequest, claims: KeyClaims) -> MeteredRequest:
        """Return the request under the policies of its position and key as well."""
        outer = () if self._policies is None else tuple(self._policies.find(claims))
        request = replace(request, minimum_grade=self._lists.find_minimum(outer))
        return replace(request, policies=(*outer, *request.policies)) if outer else request

    async def admit_once(
        self, wish: Wish, request_id: str, repeat: RepeatKey | None
    ) -> Admitted | Answer | StreamAnswer:
        """Admit a request, or return what another with the same idempotency key was answered."""
        claims = wish.claims
        while repeat is not None:
            answer = await self._repeats.find(repeat, lambda: check_standing(claims, self._meter))
            if answer is not None:
                return answer
            with suppress(RequestRepeated):  # another one was faster
                return await self._admit(wish, request_id, repeat)
        return await self._admit(wish, request_id, None)

    async def _admit(self, wish: Wish, request_id: str, repeat: RepeatKey | None) -> Admitted:
        """Read, price and reserve. Nothing is spent where this raises."""
        claims = wish.claims
        try:
            request, offers = await self._read(wish)
        except ApiError:
            # A revoked key is told so first, whatever else is wrong with its request.
            await check_standing(claims, self._meter)
            raise
        offer = offers[0]
        try:
            with self._span("reserve", request_id=request_id, model=offer.model):
                reserve: _ReserveStep = self._meter.reserve
                if repeat is not None:
                    reserve = partial(self._meter.reserve, claim=repeat)
                offer, left_usdc = await _reserve(reserve, request_id, claims, request, offer)
        except ReserveRefused as refusal:
            raise await self._explain(claims, refusal, fit=request.fit) from refusal
        return Admitted(request_id, claims, request, offer, left_usdc, repeat)

    async def _explain(self, claims: KeyClaims, refusal: ReserveRefused, *, fit: bool) -> ApiError:
        """Return what a client is told of a refusal, and when a harvest may change it."""
        outlook = None
        if needs_outlook(refusal) and refusal.facts is not None:
            outlook = await self._chain_view.fetch_outlook(
                claims.token_id,
                refusal.facts.harvest,
                now_s=refusal.facts.as_of_s,
                load_steps=self._meter.read_principal,
            )
        return refused(refusal, outlook=outlook, now_s=self._meter.now_s(), fit=fit)


def _keep_below(offer: ModelOption, request: MeteredRequest, most_usdc: int) -> ModelOption:
    """Return the offer, lowered by ``fit`` where it may be. Raises 400 where it is too dear."""
    if request.fit and offer.ceiling_usdc > most_usdc:
        offer = offer.fit(most_usdc, choices=request.call.choices)
    if offer.ceiling_usdc > most_usdc:
        raise max_cost_exceeded(required_usdc=offer.ceiling_usdc, most_usdc=most_usdc)
    return offer


async def _reserve(
    reserve: _ReserveStep,
    request_id: str,
    claims: KeyClaims,
    request: MeteredRequest,
    offer: ModelOption,
) -> tuple[ModelOption, int]:
    """Reserve an offer's ceiling; return the offer as reserved, and what is left of the hold."""

    def fit(affordable_usdc: int) -> int:
        return offer.fit(affordable_usdc, choices=request.call.choices).ceiling_usdc

    reserved = await reserve(
        _build_reservation(request_id, claims, offer, request),
        fit=fit if request.fit else None,
        generation=claims.generation,
    )
    if reserved.ceiling_usdc < offer.ceiling_usdc:
        offer = offer.fit(reserved.ceiling_usdc, choices=request.call.choices)
    return offer, reserved.hold_left_usdc


def _build_reservation(
    request_id: str, claims: KeyClaims, offer: ModelOption, request: MeteredRequest
) -> Reservation:
    said = (request.call.as_chat or request.call).body
    return Reservation(
        request_id=request_id,
        token_id=claims.token_id,
        key_epoch=claims.key_epoch,
        key_id=claims.key_id,
        model=offer.model,
        ceiling_usdc=offer.ceiling_usdc,
        input_usdc_per_mtok=offer.price.input_usdc_per_mtok,
        output_usdc_per_mtok=offer.price.output_usdc_per_mtok,
        cached_input_usdc_per_mtok=offer.price.cached_input_usdc_per_mtok,
        per_request_usdc=offer.price.per_request_usdc,
        end_user=read_user(said),
        labels=read_labels(said),
    )
