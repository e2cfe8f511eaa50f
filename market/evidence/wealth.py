"""Evidence against one offer by one method, as the wealth of a gambler. Pure.

A test bets against the hypothesis that the offer is honest. Each observation multiplies the wealth
by a *factor* whose expectation is at most 1 while the hypothesis holds, whatever came before. So
the probability that the wealth of a period **ever** reaches ``1 / alpha`` is at most ``alpha``
(Ville's inequality): the test may be looked at after every probe, and no number of looks makes a
false alarm likelier.

A gambler who has lost for months to an honest offer would notice too late that it has turned. So
the stake is spread over all starts: half is bet from the period's first observation on, and the
rest in equal parts from each later one on. What is not yet bet stays cash::

    wealth = cash + Σ over starts s of  stake(s) · factor(s) · factor(s+1) · … · factor(now)

That sum is a gambler's wealth again, and costs one multiplication and one addition an observation.
To notice a change late in a period takes ``log(2 · LOOKS)`` nats more than to notice one at its
start.

Several strategies are one gambler with several purses: their mean is what counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite, log
from typing import Final

LOOKS: Final = 512
"""Observations that a period's stake is spread over: more than a probe a day for a year."""

LIVE_LOOKS: Final = 8_192
"""The same for what live traffic says: more than 16 a day for a year."""

WEALTH_MAX: Final = 1e200


@dataclass(slots=True)
class Wealth:
    """The wealth of a period, in units of its first stake."""

    strategies: int = 1
    spread: int = LOOKS
    """Observations that the second half of the stake is spread over."""
    looks: int = 0
    """Observations so far."""
    cash: float = 1.0
    running: list[float] = field(default_factory=list)
    """What each strategy has made of its stakes, as parts of the whole."""
    peak: float = 1.0
    """The largest wealth so far: what Ville's inequality speaks of."""

    def __post_init__(self) -> None:
        if not self.running:
            self.running = [0.0] * self.strategies

    def observe(self, factors: Sequence[float]) -> None:
        """Take in an observation, by each strategy's factor: at least 0, expectation at most 1."""
        assert len(factors) == self.strategies
        assert all(isfinite(one) and one >= 0 for one in factors)
        stake = 0.5 if self.looks == 0 else 0.5 / self.spread
        stake = min(stake, self.cash)
        self.cash -= stake
        share = stake / self.strategies
        self.running = [
            min(WEALTH_MAX, (before + share) * factor)
            for before, factor in zip(self.running, factors, strict=True)
        ]
        self.looks += 1
        self.peak = max(self.peak, self.get())

    def get(self) -> float:
        """Return the wealth now."""
        return self.cash + sum(self.running)

    @property
    def nats(self) -> float:
        """The logarithm of the largest wealth so far."""
        return log(self.peak)


RATES: Final = (0.1, 0.25, 0.5, 0.9)
"""The rates that ``bet_on_rate`` bets on."""


def bet_on_rate(is_hit: bool, *, honest: float, rates: Sequence[float] = RATES) -> list[float]:
    """Return the factors of bets that hits come more often than ``honest`` allows.

    ``honest`` bounds the probability of a hit while the offer is honest. Each strategy bets on one
    rate; a rate that is not above ``honest`` does not bet.
    """
    assert 0 < honest < 1
    factors = []
    for rate in rates:
        if rate <= honest:
            factors.append(1.0)
        elif is_hit:
            factors.append(rate / honest)
        else:
            factors.append((1 - rate) / (1 - honest))
    return factors
