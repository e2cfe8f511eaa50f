"""Every parser and tally over the corpus of what providers say: see ``tests.support.corpus``."""

from collections.abc import AsyncIterator, Sequence

import pytest

from contracts.errors import Retryable
from serving.models.counting import Counted, Sent, count_tokens, deliver_whole
from serving.models.prices import Price, get_cost_usdc
from serving.models.provider_answers import Holder, is_answer, weigh_answer
from serving.models.usage import TOKENS_MAX, find_usage, read_report
from serving.stream.reading import Reading, StreamState
from serving.stream.tally import ChatTally
from tests.support.corpus import Case, load_cases

CASES = load_cases()
PRICE = Price(1_000_000, 2_000_000, 250_000)
MARKET_PRICE = Price(5_000_000, 20_000_000, 1_250_000)
ESTIMATE = 40


class Pieces:
    """A source that yields these pieces, and then ends or dies."""

    def __init__(self, pieces: Sequence[bytes], *, dies: bool) -> None:
        self._pieces = pieces
        self._dies = dies

    async def pieces(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece
        if self._dies:
            raise Retryable("the connection died")

    async def close(self) -> None:
        pass


def make_sent(case: Case) -> Sent:
    return Sent(
        prompt_estimate=ESTIMATE,
        prompt_bound=5_000,
        output_bound=case.max_tokens * case.choices,
        choices=case.choices,
        cached_bound=TOKENS_MAX,
    )


def check(case: Case, counted: Counted) -> None:
    tokens = counted.tokens
    prompt = ESTIMATE if case.prompt is None else case.prompt
    assert (tokens.prompt, tokens.cached, tokens.completion) == (prompt, case.cached, case.output)
    if case.charge_usdc is not None:
        assert get_cost_usdc(tokens, PRICE) == case.charge_usdc
        assert get_cost_usdc(tokens, MARKET_PRICE) == case.market_charge_usdc


@pytest.mark.parametrize("case", [case for case in CASES if case.whole is not None], ids=str)
def test_whole_answer__counted_as_worked_out_by_hand(case: Case) -> None:
    assert case.whole is not None
    assert is_answer(case.whole, Holder.CHOICES) == (case.ends == "ok")
    if case.ends == "ok":
        delivered = deliver_whole(weigh_answer(case.whole, Holder.CHOICES))
        check(case, count_tokens(make_sent(case), delivered, read_report(find_usage(case.whole))))


async def read_all(reading: Reading) -> tuple[StreamState, bytes]:
    passed = b""
    while True:
        try:
            piece, verdict = await reading.read()
        except Retryable:
            return StreamState.CLOSED, passed
        passed += piece
        if verdict is not StreamState.GOES_ON:
            return verdict, passed


@pytest.mark.parametrize("piece_bytes", [1, 7, 64, 1_000_000])
@pytest.mark.parametrize("case", [case for case in CASES if case.whole is None], ids=str)
async def test_stream__cut_anywhere__counted_as_worked_out_by_hand(
    case: Case, piece_bytes: int
) -> None:
    whole = b"".join(case.events)
    piece_bytes = max(piece_bytes, len(whole) // 20_000)
    pieces = [whole[at : at + piece_bytes] for at in range(0, len(whole), piece_bytes)]
    reading = Reading(Pieces(pieces, dies=case.dies), ChatTally(make_sent(case)))
    verdict, passed = await read_all(reading)
    is_whole = verdict is StreamState.DONE or (
        verdict is StreamState.CLOSED and reading.tally.is_finished
    )
    assert (is_whole and reading.has_answer) == (case.ends == "ok")
    if case.ends == "refused":
        assert reading.tally.weight.extent == 0, "nothing was delivered"
        return
    assert b'"usage":{' not in passed, "usage is said once, at the end"
    check(case, reading.tally.count())


def test_corpus__has_every_family_with_several_cases() -> None:
    families = [case.family for case in CASES]
    assert len(set(families)) >= 18
    assert all(families.count(family) >= 3 for family in families)
    assert len({str(case) for case in CASES}) == len(CASES)
