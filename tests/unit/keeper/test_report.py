"""The keeper's report: sums, shares that add up, CSV, and a plot that is well-formed."""

import csv
import io
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from contracts.units import SECONDS_PER_DAY
from keeper.report import (
    Figures,
    Movement,
    Spending,
    YieldReport,
    build_csv,
    build_report,
    build_svg,
    parse_period_s,
    print_report,
)
from ledger.intents.days import LeftAlone

SINCE_S = 20_000 * SECONDS_PER_DAY
UNTIL_S = SINCE_S + 7 * SECONDS_PER_DAY - 1


def make_report(fees_usdc: int = 7) -> YieldReport:
    """Return a week of two positions: a harvest each, one settlement, a hold for both, a sweep."""
    movements = [
        Movement("Harvested", 1, SINCE_S, 500_000),
        Movement("Harvested", 2, SINCE_S + SECONDS_PER_DAY, 1_500_000),
        Movement("Settled", 2, SINCE_S + 3 * SECONDS_PER_DAY, 900_000),
    ]
    spending = [
        Spending("hold", SINCE_S + 2 * SECONDS_PER_DAY, 40_000, fees_usdc, (1, 2)),
        Spending("sweep", SINCE_S + 6 * SECONDS_PER_DAY, 50_000, 100, ()),
    ]
    return build_report(movements, spending, since_s=SINCE_S, until_s=UNTIL_S)


def test_build_report__movements_and_gas__add_up_in_every_view() -> None:
    report = make_report()

    assert report.total == Figures(2_000_000, 900_000, 107)
    assert report.total.margin_usdc == 899_893
    assert dict(report.by_position) == {
        1: Figures(500_000, 0, 4),
        2: Figures(1_500_000, 900_000, 3),
    }
    assert {k: (c.transactions, c.gas, c.fee_usdc) for k, c in report.by_kind.items()} == {
        "hold": (1, 40_000, 7),
        "sweep": (1, 50_000, 100),
    }
    assert sum(day.gas_usdc for day in report.by_slot.values()) == 107
    assert report.by_slot[20_003].settled_usdc == 900_000


@given(st.integers(0, 10**9), st.lists(st.integers(0, 300), min_size=1, max_size=200, unique=True))
def test_build_report__a_shared_fee__its_parts_add_up_to_it(fee: int, tokens: list[int]) -> None:
    spent = Spending("hold", SINCE_S, 1, fee, tuple(tokens))
    report = build_report([], [spent], since_s=SINCE_S, until_s=UNTIL_S)

    parts = [figures.gas_usdc for figures in report.by_position.values()]
    assert sum(parts) == fee
    assert max(parts) - min(parts) <= 1


def test_build_csv__positions__one_line_each_and_one_for_all() -> None:
    rows = list(csv.DictReader(io.StringIO(build_csv(make_report()))))

    assert [row["token_id"] for row in rows] == ["1", "2", "all"]
    assert rows[-1] == {
        "token_id": "all",
        "harvested_usdc": "2000000",
        "settled_usdc": "900000",
        "gas_usdc": "107",
        "margin_usdc": "899893",
    }


def test_build_svg__a_week__has_a_rising_line_for_each_sum() -> None:
    root = ElementTree.fromstring(build_svg(make_report()))

    lines = root.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == 3
    for line in lines:
        heights = [float(point.split(",")[1]) for point in line.attrib["points"].split(" ")]
        assert len(heights) == 8, "seven days, and nothing before them"
        assert heights[0] == max(heights)
        assert heights == sorted(heights, reverse=True), "a sum never falls; y grows downwards"
    labels = "".join(root.itertext())
    assert "harvested 2" in labels
    assert "settled 0.9" in labels
    assert "2024-10-04" in labels


def test_build_svg__a_day__is_drawn_by_the_hour() -> None:
    began_s = UNTIL_S - 86_400
    moved = [Movement("Harvested", 0, began_s + 7_200, 2_000_000)]
    report = build_report(moved, [], since_s=began_s, until_s=UNTIL_S)

    svg = build_svg(report)
    line = ElementTree.fromstring(svg).findall("{http://www.w3.org/2000/svg}polyline")[0]
    heights = [float(point.split(",")[1]) for point in line.attrib["points"].split(" ")]
    assert len(heights) == 26
    assert len(set(heights)) == 2, "one step, where it was harvested"
    assert heights.index(min(heights)) == 3


@pytest.mark.parametrize("hours", [0, 1, 24, 24 * 400])
def test_build_svg__nothing_in_any_period__is_drawn(hours: int) -> None:
    report = build_report([], [], since_s=UNTIL_S - 3_600 * hours, until_s=UNTIL_S)

    ElementTree.fromstring(build_svg(report))


@pytest.mark.parametrize(
    ("text", "seconds"), [("7d", 604_800), ("12h", 43_200), ("30m", 1_800), ("1d", 86_400)]
)
def test_parse_period_s__a_period__in_seconds(text: str, seconds: int) -> None:
    assert parse_period_s(text) == seconds


@pytest.mark.parametrize("text", ["", "d", "7", "0d", "-1d", "1.5d", "7w", "7 d"])
def test_parse_period_s__anything_else__is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="period"):
        parse_period_s(text)


def test_print_report__what_was_left_alone__is_a_line_of_its_kind() -> None:
    left = {"payout": LeftAlone(30, 300_000)}
    report = build_report([], [], left, since_s=SINCE_S, until_s=UNTIL_S)
    shown = io.StringIO()

    print_report(report, Console(file=shown, width=160))

    (line,) = [line for line in shown.getvalue().splitlines() if "payout" in line]
    assert line.replace("│", " ").split()[-2:] == ["30", "0.300000"]
