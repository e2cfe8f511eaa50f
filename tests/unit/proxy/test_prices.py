"""Prices: the operator's file, then the data set; and what cannot be priced."""

from pathlib import Path
from typing import Any

import pytest

from proxy.chat.prices import PriceBook, PricesInvalid, Terms, load_prices
from serving.models.prices import Price


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    return path


def test_load__operators_file__exact_units(tmp_path: Path) -> None:
    text = '[models."m/1"]\ninput_usd_per_mtok="0.2"\noutput_usd_per_mtok="1.000001"\n'
    book = load_prices(write(tmp_path, text + "context_tokens=2048\nimage_tokens=9\n"))

    assert book.find_terms("m/1", now_s=0) == Terms(
        ((0, Price(200_000, 1_000_001)),), "operator", 2048, 9
    )
    assert book.find_direct("m/1") is None


def test_find__operator__goes_before_the_data_set(tmp_path: Path) -> None:
    text = '[models."gpt-4o"]\ninput_usd_per_mtok="1"\noutput_usd_per_mtok="2"\n'
    book = load_prices(write(tmp_path, text))

    own, direct = book.find_terms("gpt-4o", now_s=0), book.find_direct("gpt-4o")
    assert own is not None
    assert own.price == Price(1_000_000, 2_000_000)
    assert direct is not None
    assert direct.price == Price(2_500_000, 10_000_000, 1_250_000)
    assert direct.source == "genai-prices"


def test_find__tiers__a_long_prompt_costs_more() -> None:
    terms = PriceBook({}).find_terms("gemini-2.5-pro", now_s=0)

    assert terms is not None
    assert terms.get_price(200_000) == terms.price == Price(1_250_000, 10_000_000, 125_000)
    assert terms.get_price(200_001) == Price(2_500_000, 15_000_000, 250_000)


@pytest.mark.parametrize("model", ["no-such-model", "sonar-pro", "text-embedding-3-small"])
def test_find__not_metered_in_tokens__is_unknown(model: str) -> None:
    assert PriceBook({}).find_terms(model, now_s=0) is None


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
        '[model.m]\ninput_usd_per_mtok="1"\noutput_usd_per_mtok="1"\n',
    ],
)
def test_load__wrong__says_where(tmp_path: Path, text: str) -> None:
    with pytest.raises(PricesInvalid, match=r"prices\.toml"):
        load_prices(write(tmp_path, text))


def test_load__missing__raises(tmp_path: Path) -> None:
    with pytest.raises(PricesInvalid):
        load_prices(tmp_path / "none.toml")


def entry(**changes: Any) -> dict[str, Any]:
    return {
        "id": "gpt-4o",
        "input_usdc_per_mtok": 7,
        "output_usdc_per_mtok": 9,
        "cached_input_usdc_per_mtok": 3,
        **changes,
    }


def test_upstream__says_a_price__goes_first_until_it_is_old() -> None:
    book = PriceBook({}, upstream_age_s_max=100)
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
    book = PriceBook({}, upstream_age_s_max=100)
    book.note_upstream([entry(updated_at=stated)], now_s=1_000)

    found = book.find_terms("gpt-4o", now_s=1_000)
    assert found is not None
    assert found.source == "genai-prices"  # too old, or of the future


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
        {"updated_at": "yesterday"},
        {"updated_at": 5},
    ],
    ids=repr,
)
def test_upstream__entry_without_sense__left_out(changes: dict[str, Any]) -> None:
    book = PriceBook({})
    book.note_upstream([entry(**changes)], now_s=1_000)

    found = book.find_terms("gpt-4o", now_s=1_000)
    assert found is not None
    assert found.source == "genai-prices"


def test_load__cached_price__of_the_operator(tmp_path: Path) -> None:
    text = '[models."m"]\ninput_usd_per_mtok="1"\noutput_usd_per_mtok="2"\n'
    book = load_prices(write(tmp_path, text + 'cached_input_usd_per_mtok="0.25"\n'))
    terms = book.find_terms("m", now_s=0)
    assert terms is not None
    assert terms.price == Price(1_000_000, 2_000_000, 250_000)
    with pytest.raises(PricesInvalid, match="is above"):
        load_prices(write(tmp_path, text + 'cached_input_usd_per_mtok="1.01"\n'))
