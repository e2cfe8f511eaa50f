"""What a stream costs at any moment of it."""

import orjson
import pytest

from proxy.chat.tally import BYTES_PER_TOKEN_MAX, Bounds, Move, Tally
from serving.models.prices import Price, Tokens, get_charge_usdc
from tests.support.answers import USAGE, make_chunk

PRICE = Price(1_000_000, 2_000_000)  # 1 and 2 units a token


def make_tally(*, ceiling_usdc: int = 1_000, output_tokens: int = 100) -> Tally:
    return Tally(
        Bounds(
            price=PRICE,
            ceiling_usdc=ceiling_usdc,
            output_tokens=output_tokens,
            prompt_bytes=30,
            prompt_bound=200,
            image_tokens=0,
            messages=1,
        )
    )


def test_read__pieces_and_report__charged_by_the_report() -> None:
    tally = make_tally()
    moves = [tally.read(make_chunk("Hi ")), tally.read(make_chunk("there"))]
    moves += [tally.read(make_chunk("", finish="stop")), tally.read(make_chunk(None, usage=USAGE))]
    assert moves == [Move.PASS, Move.PASS, Move.PASS, Move.KEEP]
    assert tally.read(b"data: [DONE]\n\n") is Move.DONE
    assert tally.count() == (Tokens(20, 10), False)


def test_count__no_report__a_token_for_each_piece_or_three_bytes() -> None:
    tally = make_tally()
    for text in ("a", "b", "c", "d"):
        tally.read(make_chunk(text))
    assert tally.count() == (Tokens(14, 4), True)
    tally.read(make_chunk("x" * 300))
    assert tally.count() == (Tokens(14, 102), True)


def test_read__more_than_was_reserved__over_and_not_counted() -> None:
    tally = make_tally(ceiling_usdc=14 + 2 * 5)
    for _ in range(5):
        assert tally.read(make_chunk("word ")) is Move.PASS
    assert tally.read(make_chunk("word ")) is Move.OVER
    tokens, _ = tally.count()
    assert tokens == Tokens(14, 9)  # 25 bytes: the sixth piece was not passed on
    assert get_charge_usdc(tokens, PRICE, ceiling_usdc=24) == 24


def test_read__text_without_end_in_few_pieces__over() -> None:
    tally = make_tally(ceiling_usdc=10**9, output_tokens=10)
    assert tally.read(make_chunk("x" * 10 * BYTES_PER_TOKEN_MAX)) is Move.PASS
    assert tally.read(make_chunk("x")) is Move.OVER


def test_read__running_report_above_the_ceiling__over() -> None:
    tally = make_tally()
    usage = {"prompt_tokens": 10, "completion_tokens": 496}
    assert tally.read(make_chunk("a", usage=usage)) is Move.OVER


@pytest.mark.parametrize(
    ("early", "prompt"),
    [({"prompt_tokens": 20, "completion_tokens": 1}, 20), ({**USAGE, "prompt_tokens": 20}, 20)],
)
def test_count__report_at_the_start_only__the_rest_is_our_count(
    early: dict[str, int], prompt: int
) -> None:
    tally = make_tally()
    tally.read(make_chunk("first", usage=early))
    for text in ("a", "b", "x" * 30):
        tally.read(make_chunk(text))
    # 32 bytes since then; whatever the report said before stands.
    assert tally.count() == (Tokens(prompt, early["completion_tokens"] + 11), True)
    event = tally.build_last_chunk(tokens=tally.count()[0], charge={}, asked_for_usage=True)
    shown = orjson.loads(event.removeprefix(b"data: "))["usage"]
    assert shown["completion_tokens"] == early["completion_tokens"] + 11
    assert shown["total_tokens"] == prompt + early["completion_tokens"] + 11


def test_count__report_of_nothing_yet__counted_by_us() -> None:
    tally = make_tally()
    nothing = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    for text in ("a", "b", "c"):
        tally.read(make_chunk(text, usage=nothing if text == "a" else None))
    assert tally.count() == (Tokens(14, 2), True)


def test_count__running_reports__the_last_one_covers_its_own_piece() -> None:
    tally = make_tally()
    for number in (1, 2, 3):
        usage = {"prompt_tokens": 20, "completion_tokens": number}
        tally.read(make_chunk("some longer word ", usage=usage))
    assert tally.count() == (Tokens(20, 3), False)
    tally.read(make_chunk("", finish="stop"))  # says nothing more
    assert tally.count() == (Tokens(20, 3), False)


def test_read__early_report_of_nothing__cut_at_the_ceiling_all_the_same() -> None:
    tally = make_tally(ceiling_usdc=14 + 2 * 5)
    nothing = {"prompt_tokens": 0, "completion_tokens": 0}
    moves = [tally.read(make_chunk("word ", usage=nothing))]
    moves += [tally.read(make_chunk("word ")) for _ in range(6)]
    assert moves == [Move.PASS] * 6 + [Move.OVER]


def test_read__last_report_above_the_ceiling__delivered_and_capped() -> None:
    tally = make_tally()
    tally.read(make_chunk("a", finish="stop"))
    usage = {"prompt_tokens": 10, "completion_tokens": 5_000}
    assert tally.read(make_chunk(None, usage=usage)) is Move.KEEP
    tokens, _ = tally.count()
    assert get_charge_usdc(tokens, PRICE, ceiling_usdc=1_000) == 1_000


@pytest.mark.parametrize(
    "event",
    [b"data: {not json\n\n", b"data: []\n\n", b'data: {"choices": 3}\n\n', b"data: 7\n\n"],
)
def test_read__no_chunk__failed(event: bytes) -> None:
    assert make_tally().read(event) is Move.FAILED


def test_read__upstreams_error__failed_and_kept() -> None:
    tally = make_tally()
    assert tally.read(b'data: {"error": {"message": "no"}}\n\n') is Move.FAILED
    assert tally.failure == {"message": "no"}


def test_read__comment__passed() -> None:
    assert make_tally().read(b": keep-alive\n\n") is Move.PASS


@pytest.mark.parametrize(("asked", "choices"), [(True, 0), (False, 1)])
def test_build_last_chunk__usage_with_cost__client_finds_what_it_expects(
    asked: bool, choices: int
) -> None:
    tally = make_tally()
    tally.read(make_chunk("a", usage={**USAGE, "details": {"cached_tokens": 3}}))
    tokens, _ = tally.count()
    event = tally.build_last_chunk(tokens=tokens, charge={"cost": 40}, asked_for_usage=asked)
    chunk = orjson.loads(event.removeprefix(b"data: "))
    assert chunk["usage"] == {**USAGE, "details": {"cached_tokens": 3}, "cost": 40}
    assert len(chunk["choices"]) == choices
    assert chunk["id"] == "c-1"
