"""Answers that are kept: what is found again, and what they may hold of memory."""

import sys
from typing import Any

import pytest

from market.resale.answer_cache import BYTES_MAX, ENTRIES_MAX, AnswerCache
from market.resale.api_client import ApiAnswer, OutgoingCall
from market.resale.api_shelf import SoldConnection
from market.resale.connection_terms import parse_terms
from market.resale.operations import Operation

TERMS = parse_terms(
    {
        "name": "stats",
        "base_url": "https://api.example.com",
        "credential": "bearer",
        "operations": [{"method": "GET", "path": "/users/{id}", "cache_s": 60}],
        "monthly_quota": 100,
    }
)
OPERATION: Operation = TERMS.operations[0]
CONNECTION = SoldConnection("c1", "0x1", "stats", "https://a", "0x1", 0, False, 0, 0, True, TERMS)


class Kept:
    """A cache with a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.cache = AnswerCache(lambda: self.now)

    def keep(self, call: OutgoingCall, body: bytes = b"answer") -> None:
        self.cache.keep(CONNECTION, OPERATION, call, ApiAnswer(200, {}, body, 1, None, {}))

    def find(self, call: OutgoingCall) -> bytes | None:
        found = self.cache.find(CONNECTION, OPERATION, call)
        return None if found is None else found.body

    def count(self) -> int:
        return len(self.cache._kept)

    def measure(self) -> int:
        """Return the bytes of memory that keys and answers take."""
        return sum(deep_size(key) + len(kept.answer.body) for key, kept in self.cache._kept.items())


def deep_size(thing: Any) -> int:
    inner = sum(map(deep_size, thing)) if isinstance(thing, tuple) else 0
    return sys.getsizeof(thing) + inner


def ask(query: str = "", body: bytes = b"", **headers: str) -> OutgoingCall:
    return OutgoingCall("POST", "/users/1", query, headers, body)


@pytest.mark.parametrize(
    "other",
    [ask("a=1&b=3", b"x"), ask("a=1&b=2", b"y"), ask("a=1&b=2", b"x", accept="text/csv"),
     ask("a=1&b=2x"), ask("a=1&b=", b"2x")],
)  # fmt: skip
def test_answer__of_another_call__is_not_sold(other: OutgoingCall) -> None:
    kept = Kept()

    kept.keep(ask("a=1&b=2", b"x"))

    assert kept.find(ask("b=2&a=1", b"x")) == b"answer", "the order of parameters is nothing"
    assert kept.find(other) is None


def test_answer__of_large_bodies__holds_no_more_memory_than_is_allowed() -> None:
    kept = Kept()
    body = b"x" * 1024**2

    for number in range(64):
        kept.keep(ask(body=body + str(number).encode()))

    assert kept.find(ask(body=body + b"63")) == b"answer"
    assert kept.measure() < 64 * 1024


def test_answers__empty_and_many__are_bounded_in_number() -> None:
    kept = Kept()

    for number in range(ENTRIES_MAX + 100):
        kept.keep(ask(str(number)), b"")

    assert kept.count() == ENTRIES_MAX
    assert (kept.find(ask("99")), kept.find(ask("100"))) == (None, b"")


def test_answers__large__are_bounded_in_bytes() -> None:
    kept = Kept()

    for number in range(20):
        kept.keep(ask(str(number)), b"x" * (BYTES_MAX // 10))

    assert kept.measure() <= BYTES_MAX
    assert kept.count() == 9


def test_answer__too_old__is_dropped_when_it_is_met() -> None:
    kept = Kept()
    kept.keep(ask("old"))
    kept.keep(ask("older by a look"))
    kept.now = 60

    assert kept.find(ask("older by a look")) is None
    assert kept.count() == 1
    kept.keep(ask("new"))
    assert kept.count() == 1
    assert kept.find(ask("new")) == b"answer"
