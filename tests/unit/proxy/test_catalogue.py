"""The list of models: when a market's sellers flood it, and when its prices expire."""

from typing import Any, cast

import pytest

from proxy.catalogue import NEW_MODELS_MAX, Catalogue
from proxy.chat.upstream import Upstream
from proxy.list_memory import Heard, ListMemory
from serving.models.failures import Cause, UpstreamFailure
from serving.models.references import References

MEANT = "gpt-4o"


class Flooded:
    """An upstream that lists so many invented models before the one that is meant."""

    def __init__(self, invented: int) -> None:
        self.invented = invented

    async def fetch_models(self, _minimum: object = None) -> list[dict[str, Any]]:
        names = [f"+{number:06d}" for number in range(self.invented)]
        return [{"id": name} for name in (*names, "<b>", "a b", MEANT)]

    async def fetch_prices(self, _minimum: object = None) -> list[dict[str, Any]]:
        return [
            {"id": name["id"], "input_usdc_per_mtok": 1, "output_usdc_per_mtok": 1}
            for name in await self.fetch_models()
        ]


class Forgetful:
    def __init__(self) -> None:
        self.kept: list[Heard] = []

    def keep(self, heard: Heard) -> None:
        self.kept.append(heard)


async def test_refresh__flooded_list__has_the_known_model_first_and_new_ones_within_a_limit() -> (
    None
):
    memory = Forgetful()
    catalogue = Catalogue(
        cast(Upstream, Flooded(30_000)),
        References(),
        cast(ListMemory, memory),
        now_s=lambda: 1_800_000_000,
    )

    state = await catalogue.refresh()

    assert next(iter(state.models)) == MEANT
    assert state.models[MEANT].terms is not None
    assert len(state.models) <= NEW_MODELS_MAX + 1
    assert "<b>" not in state.models
    assert len(memory.kept[0].prices) <= NEW_MODELS_MAX + 1


class Rising:
    """An upstream whose price stands for ten seconds and is another one each time."""

    def __init__(self) -> None:
        self.asked = 0
        self.fails = False

    async def fetch_models(self, _minimum: object = None) -> list[dict[str, Any]]:
        if self.fails:
            raise UpstreamFailure(Cause.UNREACHABLE)
        self.asked += 1
        return [{"id": MEANT}]

    async def fetch_prices(self, _minimum: object = None) -> list[dict[str, Any]]:
        at = "2027-01-15T08:00:00Z"
        price = {"input_usdc_per_mtok": self.asked, "output_usdc_per_mtok": 1}
        return [{"id": MEANT, **price, "updated_at": at, "valid_until": 1_800_000_010}]


async def test_load_current__price_has_expired__is_asked_for_again_before_it_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, upstream, steady = [1_800_000_000], Rising(), [100.0]
    monkeypatch.setattr("proxy.catalogue.time.monotonic", lambda: steady[0])
    catalogue = Catalogue(
        cast(Upstream, upstream),
        References(),
        cast(ListMemory, Forgetful()),
        now_s=lambda: now[0],
    )
    await catalogue.refresh()

    async def price() -> tuple[int, str]:
        state = await catalogue.load_current()
        terms = state.models[MEANT].terms
        assert terms is not None
        return terms.tiers[0][1].input_usdc_per_mtok, terms.source

    first = await price()
    now[0], steady[0] = 1_800_000_009, 109.0
    still = await price()
    now[0], steady[0] = 1_800_000_010, 110.0
    risen = await price()
    again = await price()
    upstream.fails, now[0], steady[0] = True, 1_800_000_020, 120.0
    lost = await price()

    assert [first, still, risen, again] == [(1, "upstream")] * 2 + [(2, "upstream")] * 2
    assert upstream.asked == 2
    # Nobody says what it costs there now: the model's own provider's price counts.
    assert lost[1] == "genai-prices"
