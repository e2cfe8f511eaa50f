"""What searching answers for a credential costs, and that no packets let one through.

::

    one byte per packet ──► searched a few times in all, not once for each byte
        a credential at any place, in any spelling ──► cut before any of it is seen
    backslashes, numbers without end ──► no longer than other text, no error
    a large answer ──► in a thread
"""

import asyncio
import threading
import time
from base64 import b64encode
from collections.abc import Iterable
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any, cast

import pytest

from market.resale.api_streams import ASIDE_MIN_BYTES, ApiStream, CredentialLeaked, check_leaks
from market.resale.leaks import LeakSearch
from market.resale.operations import TermsRefused
from market.resale.owning import KEY_MAX, read_key
from tests.support.waiting import LIMIT_S

KEY = "ak-7Qx/42+secret=key"


class CountingSearch(LeakSearch):
    """Counts the bytes that were searched, and knows in which threads."""

    def __init__(self, *secrets: str) -> None:
        super().__init__(*secrets)
        self.searched_bytes = 0
        self.threads: set[int] = set()

    def is_in(self, data: bytes) -> bool:
        self.searched_bytes += len(data)
        self.threads.add(threading.get_ident())
        return super().is_in(data)


async def read(search: LeakSearch, packets: Iterable[bytes]) -> tuple[bytes, bool]:
    """Return what a consumer sees of an API's packets, and whether the answer was cut."""
    left = iter(packets)

    async def read_chunk() -> bytes | None:
        return next(left, None)

    response = cast(Any, SimpleNamespace(body_reader=SimpleNamespace(read_chunk=read_chunk)))
    stream = ApiStream(200, {}, None, {}, response, search, 10**9, AsyncExitStack())
    seen = b""
    try:
        async for piece in stream.chunks():
            seen += piece
    except CredentialLeaked:
        return seen, True
    return seen, False


def split(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


async def test_stream__one_byte_per_packet__is_searched_a_few_times_in_all() -> None:
    search = CountingSearch("k" * KEY_MAX)
    answer = b"\\u0041%41&#65;" * 2_000

    seen, is_cut = await read(search, split(answer, 1))

    assert (seen, is_cut) == (answer, False)
    assert len(answer) <= search.searched_bytes <= 3 * len(answer)


@pytest.mark.parametrize("size", [1, 7, 100, 239, 240, 241, 5_000])
@pytest.mark.parametrize(
    "spelling",
    [
        KEY.encode(),
        "".join(f"\\u{ord(one):04x}" for one in KEY).encode(),
        "".join(f"%25{ord(one):02x}" for one in KEY).encode(),
        "".join(f"\\u{ord(one):04x}" for one in KEY.encode().hex()).encode(),
        b64encode(KEY.encode()),
    ],
)
async def test_stream__credential_at_any_place_in_packets_of_any_size__is_cut_before_it(
    spelling: bytes, size: int
) -> None:
    overlap = LeakSearch(KEY).overlap
    for before in (0, 1, overlap - 1, overlap, overlap + 1, 2 * overlap - 9, 3 * overlap):
        answer = b"." * before + spelling + b"." * 9 * overlap

        seen, is_cut = await read(LeakSearch(KEY), split(answer, size))

        assert is_cut
        assert seen.strip(b".") == b"", "nothing of it was seen"


async def test_stream__credential_as_its_last_bytes__is_cut_before_it() -> None:
    seen, is_cut = await read(LeakSearch(KEY), split(b"." * 1_000 + KEY.encode(), 3))

    assert is_cut
    assert seen.strip(b".") == b""


@pytest.mark.parametrize("unit", [b"\\", b"=\\", b"&#", b"%", b"\\u004", b"&#9999999999", b" "])
def test_search__many_half_escapes__takes_no_longer_than_other_text(unit: bytes) -> None:
    answer = (unit * (300_000 // len(unit))) + b"&"
    began_s = time.process_time()

    assert not LeakSearch(KEY).is_in(answer)

    assert time.process_time() - began_s < 60, "quadratic, it takes minutes"


def test_search__a_number_of_thousands_of_digits__is_read_as_far_as_it_may_be() -> None:
    search = LeakSearch("secret+key")

    assert not search.is_in(b"&#" + b"9" * 5_000 + b";")
    assert search.is_in(b"secret&#" + b"0" * 5_000 + b"43;key")


async def test_answer__large__is_searched_in_a_thread_and_a_small_one_at_once() -> None:
    large, small = CountingSearch(KEY), CountingSearch(KEY)

    await check_leaks(large, b"." * ASIDE_MIN_BYTES)
    await check_leaks(small, b"." * 100)

    assert threading.get_ident() not in large.threads
    assert small.threads == {threading.get_ident()}
    with pytest.raises(CredentialLeaked):
        await asyncio.wait_for(check_leaks(large, b"." * ASIDE_MIN_BYTES + KEY.encode()), LIMIT_S)


def test_credential__longer_than_512_characters__is_refused() -> None:
    assert read_key("k" * 512) == "k" * 512
    with pytest.raises(TermsRefused, match="8 to 512"):
        read_key("k" * 513)
