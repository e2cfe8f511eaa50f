"""Prices: upstream's word, the operator's file, the data set; and what cannot be priced."""

from datetime import date, datetime
from datetime import time as clock
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from genai_prices.data_snapshot import DataSnapshot
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
    TimeOfDateConstraint,
)

from serving.models.price_file import PricesInvalid
from serving.models.prices import Price
from serving.models.references import References, load_references
from serving.models.terms import Terms


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    return path


def test_load__operators_file__exact_units(tmp_path: Path) -> None:
    text = '[models."m/1"]\ninput_usd_per_mtok="0.2"\noutput_usd_per_mtok="1.000001"\n'
    book = load_references(write(tmp_path, text + "context_tokens=2048\nimage_tokens=9\n"))

    assert book.find_terms("m/1", now_s=0) == Terms(
        ((0, Price(200_000, 1_000_001)),), "operator", 2048, 9
    )
    assert book.find_discount_base("m/1", now_s=0) == book.find_terms("m/1", now_s=0)


def test_load__fee_of_a_request__is_part_of_every_price(tmp_path: Path) -> None:
    text = (
        '[models."sonar-pro"]\ninput_usd_per_mtok="3"\noutput_usd_per_mtok="15"\n'
        'usd_per_request="0.006"\n[[models."sonar-pro".tiers]]\nabove_prompt_tokens=9\n'
        'input_usd_per_mtok="4"\noutput_usd_per_mtok="16"\n'
    )
    terms = load_references(write(tmp_path, text)).find_terms("sonar-pro", now_s=0)

    assert terms is not None, "the data set alone does not price it"
    short = Price(3_000_000, 15_000_000, per_request_usdc=6_000)
    long = Price(4_000_000, 16_000_000, per_request_usdc=6_000)
    assert terms.tiers == ((0, short), (9, long))
    assert terms.get_bound_price(100) == long


def test_upstream__states_a_fee_of_a_request__it_is_charged() -> None:
    book = References({})
    book.note_upstream([entry(per_request_usdc=50), entry(id="m")], now_s=0)

    charged, free = (book.find_terms(model, now_s=0) for model in ("gpt-4o", "m"))
    assert charged is not None
    assert free is not None
    assert (charged.price, free.price) == (Price(7, 9, 3, 50), Price(7, 9, 3, 0))


def test_find__operator__goes_before_the_data_set(tmp_path: Path) -> None:
    text = '[models."gpt-4o"]\ninput_usd_per_mtok="1"\noutput_usd_per_mtok="2"\n'
    book = load_references(write(tmp_path, text))

    own, direct = book.find_terms("gpt-4o", now_s=0), book.find_discount_base("gpt-4o", now_s=0)
    assert own is not None
    assert own.price == Price(1_000_000, 2_000_000)
    assert direct is not None
    assert direct.price == Price(2_500_000, 10_000_000, 1_250_000)
    assert direct.source == "genai-prices"


def test_find__tiers__a_long_prompt_costs_more() -> None:
    terms = References({}).find_terms("gemini-2.5-pro", now_s=0)

    assert terms is not None
    assert terms.get_price(200_000) == terms.price == Price(1_250_000, 10_000_000, 125_000)
    assert terms.get_price(200_001) == Price(2_500_000, 15_000_000, 250_000)


@pytest.mark.parametrize("model", ["no-such-model", "sonar-pro"])
def test_find__not_metered_in_tokens__is_unknown(model: str) -> None:
    assert References({}).find_terms(model, now_s=0) is None


@pytest.mark.parametrize(
    "text",
    [
        "[models",
        '[models.m]\ninput_usd_per_mtok="1"\n',
        '[models.m]\ninput_usd_per_mtok=1.0\noutput_usd_per_mtok="1"\n',
        '[models.m]\ninput_usd_per_mtok="-1"\noutput_usd_per_mtok="1"\n',
        '[models.m]\ninput_usd_per_mtok="0.0000001"\noutput_usd_per_mtok="1"\n',
        '[models.m]\ninput_usd_per_mtok="9999999"\noutput_usd_per_mtok="1"\n',
        '[models.m]\ninput_usd_per_mtok="1"\noutput_usd_per_mtok="1"\ncontext=1\n',
        '[models.m]\nusd_per_request="1"\n',
        '[models.m]\nusd_per_request="1"\nusd_per={image="1"}\n',
        '[models.m]\ninput_usd_per_mtok="1"\noutput_usd_per_mtok="1"\nusd_per_request="10001"\n',
        '[model.m]\ninput_usd_per_mtok="1"\noutput_usd_per_mtok="1"\n',
    ],
)
def test_load__wrong__says_where(tmp_path: Path, text: str) -> None:
    with pytest.raises(PricesInvalid, match=r"prices\.toml"):
        load_references(write(tmp_path, text))


def test_load__missing__raises(tmp_path: Path) -> None:
    with pytest.raises(PricesInvalid):
        load_references(tmp_path / "none.toml")


def entry(**changes: Any) -> dict[str, Any]:
    return {
        "id": "gpt-4o",
        "input_usdc_per_mtok": 7,
        "output_usdc_per_mtok": 9,
        "cached_input_usdc_per_mtok": 3,
        **changes,
    }


def test_upstream__says_a_price__goes_first_until_it_is_old() -> None:
    book = References({}, upstream_age_s_max=100)
    book.note_upstream([entry(context_tokens=50)], now_s=1_000)

    terms = book.find_terms("gpt-4o", now_s=1_100)
    assert terms == Terms(((0, Price(7, 9, 3)),), "upstream", 50, None, 1_000)
    assert terms.get_age_s(1_100) == 100
    old = book.find_terms("gpt-4o", now_s=1_101)
    assert old is not None
    assert old.source == "genai-prices"
    # What it stopped saying does not count either.
    book.note_upstream([], now_s=1_102)
    assert book.find_terms("gpt-4o", now_s=1_102) == old


@pytest.mark.parametrize("stated", ["1970-01-01T00:10:00Z", "1970-01-01T01:00:00"])
def test_upstream__says_since_when__counts_from_then(stated: str) -> None:
    book = References({}, upstream_age_s_max=100)
    book.note_upstream([entry(updated_at=stated)], now_s=1_000)

    found = book.find_terms("gpt-4o", now_s=1_000)
    assert found is not None
    assert found.source == "genai-prices"  # too old, or of the future


def test_upstream__says_until_when__counts_for_so_long_by_whatever_clock() -> None:
    book = References({})
    # Upstream's clock says 600, ours 650: the price has 30 seconds left.
    book.note_upstream([entry(updated_at="1970-01-01T00:10:00Z", valid_until=630)], now_s=650)

    found = [book.find_terms("gpt-4o", now_s=now_s) for now_s in (679, 680)]

    assert [one.source for one in found if one is not None] == ["upstream", "genai-prices"]
    assert book.upstream_until_s == 680
    book.note_upstream([entry()], now_s=700)
    assert book.upstream_until_s is None


@pytest.mark.parametrize(
    "changes",
    [
        {"id": 5},
        {"id": "other"},
        {"input_usdc_per_mtok": -1},
        {"input_usdc_per_mtok": "7"},
        {"input_usdc_per_mtok": True},
        {"output_usdc_per_mtok": 10**12 + 1},
        {"output_usdc_per_mtok": None},
        {"per_request_usdc": -1},
        {"per_request_usdc": 0.5},
        {"per_request_usdc": 10**10 + 1},
        {"updated_at": "yesterday"},
        {"updated_at": 5},
    ],
    ids=repr,
)
def test_upstream__entry_without_sense__left_out(changes: dict[str, Any]) -> None:
    book = References({})
    book.note_upstream([entry(**changes)], now_s=1_000)

    found = book.find_terms("gpt-4o", now_s=1_000)
    assert found is not None
    assert found.source == "genai-prices"


def test_load__cached_price__of_the_operator(tmp_path: Path) -> None:
    text = '[models."m"]\ninput_usd_per_mtok="1"\noutput_usd_per_mtok="2"\n'
    book = load_references(write(tmp_path, text + 'cached_input_usd_per_mtok="0.25"\n'))
    terms = book.find_terms("m", now_s=0)
    assert terms is not None
    assert terms.price == Price(1_000_000, 2_000_000, 250_000)
    with pytest.raises(PricesInvalid, match="is above"):
        load_references(write(tmp_path, text + 'cached_input_usd_per_mtok="1.01"\n'))


# ------------------------------------------------------------------------------ hours and dates


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def test_find__price_by_the_hour__changes_while_the_process_runs() -> None:
    book = References()

    # The data set's day tariff of this model is from 00:30 to 16:30 UTC.
    prices = [
        (book.find_terms("deepseek-chat", now_s=at(moment)), moment)
        for moment in (
            "2025-03-01T03:00:00Z",
            "2025-03-01T16:29:59Z",
            "2025-03-01T16:30:00Z",
            "2025-03-02T00:29:59Z",
            "2025-03-02T00:30:00Z",
            "2025-03-01T20:00:00Z",  # a clock that was set back
        )
    ]

    found = [None if terms is None else terms.price for terms, _ in prices]
    day, night = Price(270_000, 1_100_000, 70_000), Price(135_000, 550_000, 35_000)
    assert found == [day, day, night, night, day, night]


def test_find__price_by_the_hour__is_looked_up_once_until_it_ends() -> None:
    book = References()
    first = book.find_terms("deepseek-chat", now_s=at("2025-03-01T03:00:00Z"))

    assert first is not None
    assert first.valid_until_s == at("2025-03-01T16:30:00Z")
    assert book.find_terms("deepseek-chat", now_s=at("2025-03-01T16:29:59Z")) is first


def build_dated(*prices: ConditionalPrice) -> References:
    model = ModelInfo("dated", match=ClauseEquals("dated"), prices=list(prices))
    provider = Provider(
        id="p",
        name="P",
        api_pattern="p",
        model_match=ClauseEquals("dated"),
        models=[model],
    )
    return References(data_set=DataSnapshot(providers=[provider], from_auto_update=False))


def cost(amount: str) -> ModelPrice:
    return ModelPrice(input_mtok=Decimal(amount), output_mtok=Decimal(amount))


def test_find__price_by_the_date__changes_at_midnight_utc() -> None:
    book = build_dated(
        ConditionalPrice(prices=cost("1")),
        ConditionalPrice(StartDateConstraint(date(2026, 3, 1)), prices=cost("2")),
        ConditionalPrice(StartDateConstraint(date(2026, 5, 1)), prices=cost("3")),
    )

    def price(moment: str) -> Price | None:
        terms = book.find_terms("dated", now_s=at(moment))
        return None if terms is None else terms.price

    assert price("2026-02-28T23:59:59Z") == Price(1_000_000, 1_000_000)
    assert price("2026-03-01T00:00:00Z") == Price(2_000_000, 2_000_000)
    assert price("2026-04-30T23:59:59Z") == Price(2_000_000, 2_000_000)
    assert price("2026-05-01T00:00:00Z") == Price(3_000_000, 3_000_000)
    assert price("2030-01-01T00:00:00Z") == Price(3_000_000, 3_000_000)


@pytest.mark.parametrize(
    ("start", "end", "inside", "outside"),
    [
        ("22:00+00:00", "06:00+00:00", ["22:00", "02:00", "05:59"], ["06:00", "21:59"]),
        ("22:00+08:00", "06:00+08:00", ["14:00", "21:59"], ["13:59", "22:00"]),
        ("01:00-05:00", "03:00-05:00", ["06:00", "07:59"], ["05:59", "08:00"]),
        ("00:00+00:00", "00:01+00:00", ["00:00"], ["00:01", "23:59"]),
    ],
)
def test_find__hours_over_midnight_and_with_an_offset__each_minute_has_its_price(
    start: str, end: str, inside: list[str], outside: list[str]
) -> None:
    hours = TimeOfDateConstraint(clock.fromisoformat(start), clock.fromisoformat(end))
    book = build_dated(
        ConditionalPrice(prices=cost("1")), ConditionalPrice(hours, prices=cost("2"))
    )
    # In the order of a day, so that what was looked up before must not be kept too long.
    for minute in sorted([*inside, *outside]):
        terms = book.find_terms("dated", now_s=at(f"2026-07-01T{minute}:00Z"))
        assert terms is not None
        assert terms.price is not None
        assert terms.price.input_usdc_per_mtok == (2_000_000 if minute in inside else 1_000_000)


# ----------------------------------------------------------------------- not sold by its tokens


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4o-mini-search-preview",
        "gpt-4o-search-preview-2025-03-11",
        "openai/gpt-4o-mini-search-preview",
        "gpt-5-search-api",
        "o3-deep-research",
        "o4-mini-deep-research-2025-06-26",
        "perplexity/sonar",
        "sonar-pro",
        "openai/gpt-4o:online",
        "groq/compound",
        "compound-beta-mini",
        "gpt-5-image",
        "gpt-image-1",
        "gemini-2.5-flash-image-preview",
    ],
)
def test_find__takes_a_fee_unasked__is_not_priced_by_tokens(model: str) -> None:
    assert References().find_terms(model, now_s=0) is None
    assert References().find_reference(model, now_s=0) is None


@pytest.mark.parametrize(
    "model", ["gpt-4o-mini", "gemini-2.5-flash", "claude-sonnet-4-5", "grok-4"]
)
def test_find__fees_only_for_what_is_refused__is_priced(model: str) -> None:
    assert References().find_terms(model, now_s=0) is not None


# ------------------------------------------------------------------------------------------ tiers


def test_bound_price__is_the_dearest_tier_within_reach() -> None:
    terms = Terms(((0, Price(5, 7, 1)), (100, Price(9, 6)), (200, Price(2, 8))), "operator")

    assert terms.get_price(100) == Price(5, 7, 1)
    assert terms.get_price(101) == Price(9, 6)
    assert terms.get_price(201) == Price(2, 8)
    assert terms.get_bound_price(100) == Price(5, 7, 1)
    assert terms.get_bound_price(200) == Price(9, 7)
    assert terms.get_bound_price(201) == Price(9, 8)


def test_load__tiers__of_the_operator(tmp_path: Path) -> None:
    text = (
        '[models."m"]\ninput_usd_per_mtok="1"\noutput_usd_per_mtok="2"\n[[models.m.tiers]]\n'
        'above_prompt_tokens=1000\ninput_usd_per_mtok="3"\noutput_usd_per_mtok="4"\n'
    )
    terms = load_references(write(tmp_path, text)).find_terms("m", now_s=0)

    assert terms is not None
    assert terms.get_price(1_000) == Price(1_000_000, 2_000_000)
    assert terms.get_price(1_001) == Price(3_000_000, 4_000_000)
    with pytest.raises(PricesInvalid, match="ascending"):
        load_references(write(tmp_path, text + "[[" + text.partition("[[")[2]))


def test_upstream__tiers_and_reference__are_read() -> None:
    book = References()
    reference = {"input_usdc_per_mtok": 14, "output_usdc_per_mtok": 18}
    tiers = [{"above_prompt_tokens": 9, "input_usdc_per_mtok": 8, "output_usdc_per_mtok": 10}]
    book.note_upstream([entry(tiers=tiers, reference=reference)], now_s=1_000)

    terms = book.find_terms("gpt-4o", now_s=1_000)
    assert terms is not None
    assert terms.tiers == ((0, Price(7, 9, 3)), (9, Price(8, 10)))
    direct = book.find_discount_base("gpt-4o", now_s=1_000)
    assert direct is not None
    assert direct.price == Price(14, 18)
    book.note_upstream([entry(tiers=[{"above_prompt_tokens": 9}])], now_s=1_000)
    fallen_back = book.find_terms("gpt-4o", now_s=1_000)
    assert fallen_back is not None
    assert fallen_back.source == "genai-prices"


def test_find__an_embedding__has_a_price_of_input_alone() -> None:
    terms = References({}).find_terms("text-embedding-3-small", now_s=0)
    assert terms is not None
    assert terms.price == Price(20_000, 0)
    assert not terms.prices_output
