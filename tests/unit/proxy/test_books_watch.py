"""The comparison of books and chain: an old one is shown for a while, then none is."""

from typing import Any, cast

from contracts.blocks import Header
from contracts.node_errors import NodeUnavailable
from contracts.reader import ChainReader
from ledger.chain.mirror import MirrorState
from proxy.books_proof import SHOWN_S, BookSums, BooksWatch
from proxy.chat.meter import Meter

BLOCK_HASH = "0x" + "05" * 32


class Node:
    """A node that has the mirrored block, until it is away."""

    def __init__(self) -> None:
        self.is_away = False

    def fetch_header(self, number: int) -> Header | None:
        if self.is_away:
            raise NodeUnavailable("away")
        return Header(number, BLOCK_HASH, "0x00", 1, 0, None)

    def fetch_call(self, *_: Any, **__: Any) -> bytes:
        return bytes(32)


class Books:
    """A ledger whose sums are all zero."""

    def now_s(self) -> int:
        return 1

    async def read(self, _: Any) -> BookSums:
        return BookSums(MirrorState(1, 5, BLOCK_HASH, 1, 5, 1), 0, 0)


async def test_fetch__node_goes_away__the_last_proof_is_shown_for_two_minutes() -> None:
    now = [1_000.0]
    node = Node()
    watch = BooksWatch(
        cast(ChainReader, node),
        cast(Meter, Books()),
        position="0x" + "11" * 20,
        usdc="0x" + "22" * 20,
        clock_s=lambda: now[0],
    )
    first = await watch.fetch()
    assert first is not None

    node.is_away = True
    now[0] += SHOWN_S
    assert await watch.fetch() is first
    now[0] += 1
    assert await watch.fetch() is None

    node.is_away = False
    now[0] += SHOWN_S
    again = await watch.fetch()
    assert again is not None
    assert again.block_number == 5
