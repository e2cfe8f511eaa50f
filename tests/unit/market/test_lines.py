"""Connections to one provider, shared by those whose endpoint it is."""

from collections.abc import Sequence

import pytest

from market.endpoints.lines import Line, Lines
from serving.models.dialing import Dialer, DialRules
from serving.models.failures import UpstreamFailure
from serving.models.upstream import Access
from serving.process.turns import NoPlace

URL = "https://provider.example/v1"


async def resolve(_: str, __: int) -> Sequence[str]:
    return ["93.184.216.34"]


def make(*, connections_max: int = 16, calls_max: int = 1_000) -> tuple[Dialer, Lines]:
    # Nobody who finds no place waits for one here.
    rules = DialRules(connections_max=connections_max, connect_timeout_s=0.001)
    dialer = Dialer(rules, resolve=resolve)
    return dialer, Lines(dialer, calls_max=calls_max)


async def open_all(lines: Lines, tenant: str, *urls: str) -> list[Line]:
    opened: list[Line] = []
    try:
        while True:
            for url in urls or (URL,):
                opened.append(await lines.open(Access(url, "k", tenant)))
    except NoPlace:
        return opened


async def test_open__one_seller_hangs_with_all_it_gets__others_at_the_provider_are_called() -> None:
    dialer, lines = make()
    hanging = await open_all(lines, "hanging")
    honest = await open_all(lines, "honest")

    assert (len(hanging), bool(honest)) == (14, True)
    for line in (*hanging, *honest):
        line.leave()
        line.leave()
    assert len(await open_all(lines, "honest")) == 14  # nothing was lost or given back twice
    await dialer.close()


async def test_open__one_seller_at_many_providers__leaves_calls_to_others() -> None:
    dialer, lines = make(calls_max=16)
    taken = await open_all(lines, "hanging", *(f"https://p{n}.example/v1" for n in range(8)))

    assert len(taken) == 14
    assert await open_all(lines, "honest")
    await dialer.close()


async def test_open__address_that_must_not_be_called__is_the_sellers_failure() -> None:
    dialer, lines = make()
    with pytest.raises(UpstreamFailure):
        await lines.open(Access("https://10.0.0.1/v1", "k", "seller"))
    await dialer.close()


async def test_hold__failed_call__gives_the_place_back() -> None:
    dialer, lines = make(connections_max=1)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            async with lines.hold(Access(URL, "k", "seller")):
                raise RuntimeError
    await dialer.close()
