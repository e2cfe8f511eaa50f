"""The list of models, when a market's sellers flood it."""

from typing import Any, cast

from proxy.catalogue import NEW_MODELS_MAX, Catalogue
from proxy.chat.upstream import Upstream
from proxy.list_memory import Heard, ListMemory
from serving.models.references import References

MEANT = "gpt-4o"


class Flooded:
    """An upstream that lists so many invented models before the one that is meant."""

    def __init__(self, invented: int) -> None:
        self.invented = invented

    async def fetch_models(self) -> list[dict[str, Any]]:
        names = [f"+{number:06d}" for number in range(self.invented)]
        return [{"id": name} for name in (*names, "<b>", "a b", MEANT)]

    async def fetch_prices(self) -> list[dict[str, Any]]:
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
