"""Whether an offer's answers are drawn as the reference's are: a test of two samples. Pure.

A *block* is one prompt of a private template, asked a few times of the offer and a few times of a
reference (an offer of grade A) within the same hour. Each answer is one category: its first token,
its word, whether its call of a tool was valid. While the offer serves the reference's model, the
labels "offer" and "reference" of a block's answers may be exchanged without changing their
probability. Nothing is assumed of the model, of its temperature, or of how other blocks came out.

The bet: from earlier blocks, ``score(x)`` says how much likelier an answer is from the offer than
from the reference. The factor of a block is the product of the scores of the offer's answers,
divided by the mean of that product over **all** ways to label the block's answers. Its expectation
over the labels is exactly 1, so it may be multiplied into a wealth (``market.evidence.wealth``).
The mean is an elementary symmetric polynomial of the scores and is computed exactly: no
permutation is drawn, and the same answers give the same evidence everywhere.

There are two kinds of strategies. One learns each template's answers by themselves: a swap moves
them all, so it shows within a probe or two. The other learns one thing of all templates together,
how often the reference's usual answer is missed: a mixture of a tenth moves each template too
little to be learned alone. Each kind bets at several sizes, and their mean counts.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import comb
from typing import Final

from market.evidence.wealth import Wealth

BOLDNESS: Final = (0.05, 0.2, 0.5, 0.95)
"""How far the strategies of one template follow what its earlier blocks say."""

POOLED_BOLDNESS: Final = (0.3, 0.95)
"""The same of the strategies that learn from all templates together."""

STRATEGIES: Final = len(BOLDNESS) + len(POOLED_BOLDNESS)

CATEGORIES_MAX: Final = 6
"""Answers of a template that are told apart; all others are one category."""

FORGETTING: Final = 0.98
"""What is left of an earlier block's weight with each later block of its template: so an offer that
has turned is learned again."""

POOLED_FORGETTING: Final = 0.999
"""The same with each later block of any template."""

PRIOR: Final = 1.0
"""The weight, in answers, of what both samples say together."""


@dataclass(frozen=True, slots=True)
class AnswerBlock:
    """What one prompt of a template was answered, in categories."""

    template: str
    offer: tuple[str, ...]
    reference: tuple[str, ...]


@dataclass(slots=True)
class _Sides:
    """Weighted counts of the answers of both sides."""

    offer: dict[str, float] = field(default_factory=dict)
    reference: dict[str, float] = field(default_factory=dict)
    forgetting: float = FORGETTING

    def learn(self, offer: Sequence[str], reference: Sequence[str]) -> None:
        for counts, answers in ((self.offer, offer), (self.reference, reference)):
            for name in counts:
                counts[name] *= self.forgetting
            for name, count in Counter(answers).items():
                counts[name] = counts.get(name, 0.0) + count

    def find_known(self) -> list[str]:
        """Return the commonest answers of both sides."""
        pooled = {
            name: self.offer.get(name, 0.0) + self.reference.get(name, 0.0)
            for name in (*self.offer, *self.reference)
        }
        return sorted(pooled, key=lambda name: (-pooled[name], name))[:CATEGORIES_MAX]

    def find_usual(self) -> str | None:
        """Return the reference's commonest answer; None before any."""
        return max(sorted(self.reference), key=lambda name: self.reference[name], default=None)

    def weigh(self, known: Sequence[str]) -> dict[str, float]:
        """Return how much likelier each known answer is from the offer; "" is any other."""
        offer, reference = _lump(self.offer, known), _lump(self.reference, known)
        totals = sum(offer.values()), sum(reference.values())
        if not all(totals):
            return dict.fromkeys(offer, 1.0)
        ratios = {}
        for name in offer:
            together = offer[name] + reference[name] + 1 / len(offer)
            prior = PRIOR * together / (sum(totals) + 1)
            of_offer = (offer[name] + prior) / (totals[0] + PRIOR)
            ratios[name] = of_offer / ((reference[name] + prior) / (totals[1] + PRIOR))
        return ratios


def _lump(counts: dict[str, float], known: Sequence[str]) -> dict[str, float]:
    lumped = {name: counts.get(name, 0.0) for name in known}
    lumped[""] = sum(weight for name, weight in counts.items() if name not in lumped)
    return lumped


_USUAL: Final = "usual"
_OTHER: Final = "other"


@dataclass(slots=True)
class Comparison:
    """All that one method has seen of one offer in a period."""

    wealth: Wealth = field(default_factory=lambda: Wealth(strategies=STRATEGIES))
    templates: dict[str, _Sides] = field(default_factory=dict)
    together: _Sides = field(default_factory=lambda: _Sides(forgetting=POOLED_FORGETTING))

    def observe(self, blocks: Sequence[AnswerBlock]) -> None:
        """Take in one round of a probe: blocks of different templates. One without answers of both
        sides says nothing."""
        factors = [1.0] * STRATEGIES
        told = [block for block in blocks if block.offer and block.reference]
        assert len({block.template for block in told}) == len(told)
        for block in told:
            factors = [before * one for before, one in zip(factors, self._bet(block), strict=True)]
        # Only now: the blocks of one round are bet on before any of them is seen.
        for block in told:
            self._learn(block)
        self.wealth.observe(factors)

    def _bet(self, block: AnswerBlock) -> list[float]:
        sides = self.templates.setdefault(block.template, _Sides())
        known = sides.find_known()
        ratios, usual = sides.weigh(known), sides.find_usual()
        own = _bet_all(block, ratios, known, BOLDNESS)
        if usual is None:
            return [*own, *[1.0] * len(POOLED_BOLDNESS)]
        missed = self.together.weigh([_USUAL, _OTHER])
        merged = AnswerBlock(
            block.template,
            tuple(_USUAL if answer == usual else _OTHER for answer in block.offer),
            tuple(_USUAL if answer == usual else _OTHER for answer in block.reference),
        )
        return [*own, *_bet_all(merged, missed, (_USUAL, _OTHER), POOLED_BOLDNESS)]

    def _learn(self, block: AnswerBlock) -> None:
        sides = self.templates[block.template]
        usual = sides.find_usual()
        sides.learn(block.offer, block.reference)
        if usual is not None:
            merged = (
                [_USUAL if answer == usual else _OTHER for answer in answers]
                for answers in (block.offer, block.reference)
            )
            self.together.learn(*merged)


def _bet_all(
    block: AnswerBlock, ratios: dict[str, float], known: Sequence[str], boldness: Sequence[float]
) -> list[float]:
    """Return the factor of a block for each size of bet."""
    factors = []
    for bold in boldness:
        scores = {name: 1 - bold + bold * ratio for name, ratio in ratios.items()}
        of_offer = [scores[one if one in known else ""] for one in block.offer]
        of_reference = [scores[one if one in known else ""] for one in block.reference]
        bet = 1.0
        for score in of_offer:
            bet *= score
        factors.append(bet / _mean_of_products([*of_offer, *of_reference], len(of_offer)))
    return factors


def _mean_of_products(values: Sequence[float], size: int) -> float:
    """Return the mean, over all choices of ``size`` values, of their product."""
    sums = [1.0] + [0.0] * size
    for value in values:
        for count in range(size, 0, -1):
            sums[count] += sums[count - 1] * value
    return sums[size] / comb(len(values), size)
