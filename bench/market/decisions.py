"""Routing decisions a second: over how many offers, with nothing but the choice itself."""

from __future__ import annotations

import random
import statistics
import time
from typing import Final

from market.routing.ranking import Ask, Offer, OfferState
from market.routing.shelf import Shelf
from serving.models.prices import Price, Tokens

SIZES: Final = (10, 1_000, 100_000)
RUNS: Final = 5
DECIDE_S: Final = 0.5


def make_offers(count: int, *, seed: int = 1) -> list[Offer]:
    """Return offers of random prices, a tenth of which may not serve."""
    dice = random.Random(seed)
    return [
        Offer(
            offer_id=f"{number:08d}",
            model="m",
            seller=f"s{number % 97}",
            price=Price(dice.randrange(1, 10_000_000), dice.randrange(1, 50_000_000)),
            is_active=dice.random() > 0.1,
            cap_daily_usdc=dice.choice((None, 10**9)),
        )
        for number in range(count)
    ]


def measure_decisions(count: int) -> float:
    """Return routing decisions a second, for requests of changing shape. Median of ``RUNS``."""
    shelf = Shelf(make_offers(count))
    state = OfferState()
    dice = random.Random(2)
    asks = [
        Ask(
            model="m",
            estimate=(tokens := Tokens(dice.randrange(1, 20_000), dice.randrange(1, 4_000))),
            bound=tokens,
            direct=Price(10_000_000, 50_000_000),
            minimum_discount_pct=dice.choice((None, 10, 30)),
        )
        for _ in range(256)
    ]
    rates = []
    for _ in range(RUNS):
        made, until = 0, time.perf_counter() + DECIDE_S
        while time.perf_counter() < until:
            for ask in asks[:32]:
                assert shelf.select(lambda _: state, ask) is not None
            asks = asks[32:] + asks[:32]
            made += 32
        rates.append(made / (DECIDE_S + time.perf_counter() - until))
    return statistics.median(rates)
