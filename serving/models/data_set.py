"""What the ``genai-prices`` data set says of a model at a moment. Pure.

Prices may depend on the prompt's length (tiers), the hour of the day and the date. A model that
takes a fee which is not counted in text tokens is not priced by this data set: what it costs cannot
be told from tokens.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal
from functools import cache
from importlib.metadata import version
from typing import Any, Final

from genai_prices.data_snapshot import DataSnapshot
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    TieredPrices,
)

from contracts.units import USDC_DECIMALS
from serving.models.prices import Price
from serving.models.terms import Terms


@cache
def get_release() -> str:
    """Return the name and version of the data set."""
    return f"genai-prices {version('genai-prices')}"


_TOKEN_KEYS: Final = ("input_mtok", "output_mtok", "cache_read_mtok")
_IRRELEVANT_KEYS: Final = frozenset(
    {
        # Writing into the cache is charged as input is.
        "cache_write_mtok",
        "cache_write_1h_mtok",
        # Requests that ask for searches are refused.
        "web_searches_kcount",
        "storage_searches_kcount",
        # Requests that bring sound or films are refused; an image is priced as text tokens.
        "input_audio_mtok",
        "cache_audio_read_mtok",
        "input_video_mtok",
        "input_image_mtok",
        "cache_image_read_mtok",
    }
)
_FEE_UNASKED: Final = re.compile(
    r"(?:^|[-/:_.])(?:search|research|sonar|online|nitro|compound|image)(?=$|[-/:_.\d])"
)
"""Words in the names of models that search, run tools, or draw without being asked, for a fee that
is not counted in text tokens. The data set finds some of them under another model's name."""

_NOISE: Final = Decimal("1e-12")
"""US dollars per million tokens: below it a figure is an artefact of binary fractions."""


def takes_fee_unasked(model: str) -> bool:
    """Tell whether a model takes a fee beyond its tokens, whatever the request asks for."""
    return _FEE_UNASKED.search(model.lower()) is not None


def list_names(data_set: DataSnapshot) -> frozenset[str]:
    """Return the ids of all models of the data set."""
    return frozenset(model.id for provider in data_set.providers for model in provider.models)


def find_id(data_set: DataSnapshot, model: str) -> str | None:
    """Return which model of the data set a name is taken for; None for none.

    Models of one price may share an entry, as ``gpt-5`` and ``gpt-5-codex`` do.
    """
    try:
        provider, info = _find(data_set, model)
    except LookupError:
        return None
    return f"{provider.id}/{info.id}"


def _find(data_set: DataSnapshot, model: str) -> tuple[Provider, ModelInfo]:
    """Return a model and its provider by the model's name. Raises ``LookupError``."""
    try:
        return data_set.find_provider_model(model, None, None, None)
    except LookupError:
        if not model.startswith("text-embedding-"):
            raise
    # The data set does not take a name of this kind for OpenAI's unless it is told so.
    return data_set.find_provider_model(model, None, "openai", None)


def look_up(data_set: DataSnapshot, model: str, *, now_s: int) -> tuple[Terms | None, int | None]:
    """Return a model's terms at ``now_s``, and until when that holds (Unix seconds; None: always).

    The terms are None for a model that the data set does not know, or does not sell by tokens. An
    embedding has no price of output: 0.
    """
    if takes_fee_unasked(model):
        return None, None
    try:
        _, info = _find(data_set, model)
    except LookupError:
        return None, None
    now = datetime.fromtimestamp(now_s, UTC)
    prices, until_s = info.get_prices(now), _find_end_s(info, now)
    tiers = _read_tiers(prices)
    if tiers is None:
        return None, until_s
    terms = Terms(
        tiers,
        "genai-prices",
        info.context_window,
        prices_output=prices.output_mtok is not None,
        date=get_release(),
        valid_until_s=until_s,
    )
    return terms, until_s


def _find_end_s(info: ModelInfo, now: datetime) -> int | None:
    """Return when the model's price may change next, in Unix seconds; None for never."""
    if isinstance(info.prices, ModelPrice):
        return None
    changes = [change for one in info.prices for change in _find_changes(one, now)]
    return min((int(change.timestamp()) for change in changes if change > now), default=None)


def _find_changes(conditional: ConditionalPrice, now: datetime) -> Iterator[datetime]:
    constraint = conditional.constraint
    if constraint is None:
        return
    if isinstance(constraint, StartDateConstraint):
        yield datetime.combine(constraint.start_date, time(), UTC)
        return
    for clock in (constraint.start_time, constraint.end_time):
        zoned = clock if clock.tzinfo is not None else clock.replace(tzinfo=UTC)
        # An offset may put the clock's time on the day before or after: three days cover it.
        for days in (-1, 0, 1, 2):
            yield datetime.combine(now.date() + timedelta(days=days), zoned).astimezone(UTC)


def _read_tiers(prices: ModelPrice) -> tuple[tuple[int, Price], ...] | None:
    """Return the tiers, or None for a model that also charges for units not counted here."""
    stated = {
        name: value
        for name, value in vars(prices).items()
        if value is not None and not name.startswith("_")
    }
    if not stated.keys() <= {*_TOKEN_KEYS, *_IRRELEVANT_KEYS} or "input_mtok" not in stated:
        return None
    values = [stated.get(name) for name in _TOKEN_KEYS]
    starts = {0, *(tier.start for value in values for tier in getattr(value, "tiers", ()))}
    return tuple((start, _build_price(values, start)) for start in sorted(starts))


def _build_price(values: Sequence[Any], start: int) -> Price:
    input_price, output_price, cached_price = (
        None if value is None else _read_units(value, start) for value in values
    )
    assert input_price is not None
    if cached_price is not None:
        cached_price = min(cached_price, input_price)
    return Price(input_price, output_price or 0, cached_price)


def _read_units(value: Any, start: int) -> int:
    """Return 1e-6 USDC, rounded up, of a price in the tier that begins above ``start``."""
    amount = value
    if isinstance(value, TieredPrices):
        amount = value.base
        for tier in value.tiers:
            if tier.start <= start and start > 0:
                amount = tier.price
    exact = Decimal(amount).quantize(_NOISE, ROUND_HALF_EVEN).scaleb(USDC_DECIMALS)
    return int(exact.to_integral_value(ROUND_CEILING))
