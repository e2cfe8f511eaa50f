"""Who may serve a request under a policy, and at what price: by a market's book, or by what the
operator declares of a lone upstream.

A market states the price of its cheapest seller. Under a policy another one may have to serve, so
its public book says who meets the policy, and their best one's price is what is reserved for. Where
the upstream is no market, it meets a policy as far as its operator declares.
"""

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from proxy.catalogue import Model
from proxy.chat.upstream import Upstream
from proxy.chat.upstream_errors import translated
from serving.dialects.call import Call
from serving.dialects.policy import (
    Policy,
    Sort,
    find_needed,
    find_unmet,
    get_place,
    is_named,
    is_too_dear,
)
from serving.dialects.serving_facts import Facts, read_facts
from serving.models.grades import Grade, get_stricter, meets, read_grade
from serving.models.price_list import read_entry
from serving.models.prices import Tokens, get_worth
from serving.models.terms import Terms

BOOK_LASTS_S: Final = 5.0
BOOKS_MAX: Final = 256


@dataclass(frozen=True, slots=True)
class BookEntry:
    """One offer of a market's book."""

    terms: Terms
    facts: Facts
    names: frozenset[str]
    is_trusted: bool
    grade: Grade
    first_token_ms: int | None
    throughput_tps: int | None


class PolicyChoice:
    """Finds the price at which somebody who meets a policy serves a model."""

    def __init__(self, upstream: Upstream, facts: Facts) -> None:
        """``facts``: what the operator declares of an upstream that is no market."""
        self._upstream = upstream
        self._facts = facts
        self._books: OrderedDict[str, tuple[float, list[BookEntry]]] = OrderedDict()

    async def find_terms(
        self,
        model: Model,
        policy: Policy,
        call: Call,
        *,
        now_s: int,
        minimum_grade: Grade | None = None,
    ) -> Terms | None:
        """Return what whoever comes first under a policy takes for a model; None: nobody meets it.

        ``minimum_grade``: the lowest that the operator takes of a market's sellers. Raises
        ``ApiError`` where a market does not show its book.
        """
        terms = model.terms
        if terms is None:
            return None
        needed = find_needed(call.body)
        context, image = model.context_tokens, terms.image_tokens
        bound = call.get_prompt_bound(context_tokens=context, image_tokens=image)
        if terms.source != "upstream":
            own_name = f"provider:{self._upstream.name.lower()}"
            is_met = find_unmet(policy, self._facts, needed) is None
            is_met = is_met and is_named(policy, [own_name]) and not policy.trusted_only
            # Nobody has graded it.
            is_met = is_met and policy.minimum_grade in (None, Grade.OTHER)
            return (
                terms if is_met and not is_too_dear(policy, terms.get_bound_price(bound)) else None
            )
        stricter = get_stricter(policy.minimum_grade, minimum_grade)
        policy = replace(policy, minimum_grade=stricter)
        book = await self._load_book(model.model_id, now_s=now_s)
        estimate = call.get_estimate(context_tokens=context, image_tokens=image)
        chosen = choose(book, policy, needed, estimate, prompt_bound=bound)
        if chosen is None:
            return None
        return replace(
            chosen.terms, context_tokens=terms.context_tokens, image_tokens=terms.image_tokens
        )

    async def _load_book(self, model: str, *, now_s: int) -> list[BookEntry]:
        known = self._books.get(model)
        if known is not None and time.monotonic() - known[0] < BOOK_LASTS_S:
            return known[1]
        with translated():
            offers = await self._upstream.fetch_book(model)
        book = read_book(offers, now_s=now_s)
        self._books[model] = (time.monotonic(), book)
        self._books.move_to_end(model)
        if len(self._books) > BOOKS_MAX:
            self._books.popitem(last=False)
        return book


def read_book(offers: Sequence[Mapping[str, Any]], *, now_s: int) -> list[BookEntry]:
    """Return the offers of a market's book that can serve text now; what makes no sense is not."""
    entries = []
    for offer in offers:
        offer_id, provider = offer.get("offer_id"), offer.get("provider")
        terms = read_entry(offer, now_s=now_s)
        is_sold = offer.get("serviceable") is True and isinstance(offer_id, str)
        if terms is None or not is_sold or not isinstance(provider, str):
            continue
        measured = offer.get("measured")
        told = measured if isinstance(measured, dict) else {}
        entries.append(
            BookEntry(
                terms=terms,
                facts=read_facts(offer),
                names=frozenset((f"offer:{offer_id}".lower(), f"provider:{provider}".lower())),
                is_trusted=offer.get("trusted") is True,
                grade=read_grade(str(offer.get("grade"))) or Grade.OTHER,
                first_token_ms=_read_count(told.get("first_token_ms_p50")),
                throughput_tps=_read_count(told.get("throughput_tps_p50")),
            )
        )
    return entries


def choose(
    book: Sequence[BookEntry],
    policy: Policy,
    needed: frozenset[str],
    tokens: Tokens,
    *,
    prompt_bound: int,
) -> BookEntry | None:
    """Return the offer that comes first under a policy, of approved sellers if any meets it.

    The book does not say whose an offer is: what is said of sellers by their address is left to
    the market.
    """
    known = replace(
        policy,
        only=tuple(
            names for names in policy.only if not any(name.startswith("seller:") for name in names)
        ),
    )
    able = [
        entry
        for entry in book
        if (entry.is_trusted or not policy.trusted_only)
        and meets(entry.grade, policy.minimum_grade or Grade.OTHER)
        and find_unmet(known, entry.facts, needed) is None
        and is_named(known, entry.names)
        and not is_too_dear(known, entry.terms.get_bound_price(prompt_bound))
    ]
    trusted = [entry for entry in able if entry.is_trusted]

    def rank(entry: BookEntry) -> tuple[int, bool, int, int]:
        worth = get_worth(tokens, entry.terms.get_price(tokens.prompt))
        place = get_place(known, entry.names)
        speed: int | None = 0
        if known.sort is Sort.LATENCY:
            speed = entry.first_token_ms
        elif known.sort is Sort.THROUGHPUT:
            speed = None if entry.throughput_tps is None else -entry.throughput_tps
        return place, speed is None, speed or 0, worth

    return min(trusted or able, key=rank, default=None)


def _read_count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
