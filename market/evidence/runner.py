"""A probe: one method's questions, asked of an offer and of a reference like any buyer asks.

Each question goes to both sides in turn, so that a load or an hour that changes answers changes
those of both. An answer that fails, or that nobody can read, is missing on its side, and the others
of its block count all the same.

A probe pays from a purse: what an answer may cost at most is taken out before it is asked for, and
nothing is asked once the purse holds less. So a probe never costs more than was planned, and what
it has cost is known however it ends.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import structlog

from market.evidence.probes import ANSWERS, ROUNDS, Question, find_category, make_questions
from market.evidence.two_samples import AnswerBlock
from market.evidence.verdicts import Method

log = structlog.get_logger("market")

TOGETHER_MAX: Final = 4
"""Questions that are open at once: as many as a buyer's program may well have."""


@dataclass(frozen=True, slots=True)
class Told:
    """One answer: its text, the request's id, and what it cost in 1e-6 USDC."""

    text: str
    request_id: str
    cost_usdc: int


@dataclass(slots=True)
class Purse:
    """What a probe may cost, and has cost so far. In 1e-6 USDC."""

    limit_usdc: int
    spent_usdc: int = 0
    """Of answers that are under way, what they may cost at most."""
    refusal: str | None = None
    """Why the buyer's key buys nothing; None: it does."""

    def take(self, most_usdc: int) -> bool:
        """Take out what an answer may cost; tell whether it may be asked for."""
        if self.refusal is not None or self.spent_usdc + most_usdc > self.limit_usdc:
            return False
        self.spent_usdc += most_usdc
        return True

    def settle(self, most_usdc: int, cost_usdc: int) -> None:
        """Put back what an answer did not cost."""
        self.spent_usdc += cost_usdc - most_usdc


Ask = Callable[[dict[str, Any]], Awaitable[Told | None]]
"""Asks one side; None where nobody answered in a readable way."""


@dataclass(frozen=True, slots=True)
class OfferProbe:
    """What a probe came to."""

    rounds: tuple[tuple[AnswerBlock, ...], ...]
    transcript: tuple[dict[str, Any], ...]
    """Each question with the answers of both sides."""
    cost_usdc: int

    @property
    def is_answered(self) -> bool:
        """Whether any question was answered by both sides."""
        return any(one.offer and one.reference for blocks in self.rounds for one in blocks)


async def run_probe(
    ask_offer: Ask,
    ask_reference: Ask,
    *,
    secret: bytes,
    model: str,
    method: Method,
    random: Random,
    templates: int,
    answers: int = ANSWERS,
    rounds: int = ROUNDS,
) -> OfferProbe:
    """Ask a probe's questions. Nothing is raised for answers that fail."""
    limit = asyncio.Semaphore(TOGETHER_MAX)
    blocks: list[tuple[AnswerBlock, ...]] = []
    transcript: list[dict[str, Any]] = []
    cost_usdc = 0

    async def ask(question: Question) -> tuple[AnswerBlock, dict[str, Any], int]:
        told: dict[str, list[Told]] = {"offer": [], "reference": []}
        body = question.build_body(model)
        async with limit:
            for _ in range(answers):
                for side, put in (("offer", ask_offer), ("reference", ask_reference)):
                    try:
                        answer = await put(body)
                    except Exception:
                        # Of one answer, whatever it is: the others are paid for.
                        log.exception("probe_answer_failed")
                        continue
                    if answer is not None:
                        told[side].append(answer)
        block = AnswerBlock(question.template, *(_sort(told[side]) for side in told))
        said = {
            "question": question.text,
            **{side: [[one.request_id, one.text] for one in told[side]] for side in told},
        }
        return block, said, sum(one.cost_usdc for side in told.values() for one in side)

    for _ in range(rounds):
        questions = make_questions(secret, method, random, templates=templates)
        found = await asyncio.gather(*(ask(question) for question in questions))
        blocks.append(tuple(block for block, _, _ in found))
        transcript += [said for _, said, _ in found]
        cost_usdc += sum(cost for _, _, cost in found)
    return OfferProbe(tuple(blocks), tuple(transcript), cost_usdc)


def _sort(answers: Sequence[Told]) -> tuple[str, ...]:
    return tuple(find_category(one.text) for one in answers)
