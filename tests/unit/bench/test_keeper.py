"""The keeper bench: its world, a tick and a simulated time in small, its tables and its result."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench.keeper import main
from bench.keeper.batches import BatchGas
from bench.keeper.main import draw_gas, print_gas, print_sizes
from bench.keeper.rounds import measure_tick, simulate
from bench.keeper.world import APY, BEGIN_S, World, open_ledger
from contracts.units import SECONDS_PER_DAY, USDC_ONE
from keeper.duties.registry import Rules

COUNT, DUE = 60, 12
RULES = Rules(harvest_items_max=5)
FIGURES = {
    "simulated_days": 365.0,
    "decisions": 2_000.0,
    "decisions_per_s": 500.0,
    "harvests_a_year": 1_000.0,
    "transactions_a_year": 100.0,
    "credited_usdc_a_year": 5_000_000.0,
    "lag_h": 2.0,
    "lag_ideal_h": 1.5,
    "waiting": 3.0,
    "rss_mb": 80.0,
    "tick_ms": 10.0,
}


def test_batch_gas__many_requests__share_settlement_and_hold() -> None:
    batch = BatchGas(requests=100, positions=1, settle=60_000, hold=40_000)

    assert batch.each == 1_000
    assert batch.each_usual == pytest.approx((60_000 + 40_000 * 600 / 4_500) / 100)


def test_world__harvest__credits_what_grew_and_begins_again() -> None:
    world = World(COUNT)
    world.last_s[0] = BEGIN_S - SECONDS_PER_DAY
    grown_usdc = world.pending_usdc(0)
    a_year_usdc = world.principal_usdc[0] * APY
    assert grown_usdc == int(a_year_usdc / 365)

    assert world.harvest([0]) == grown_usdc
    assert world.pending_usdc(0) == 0
    assert USDC_ONE <= min(world.principal_usdc) <= max(world.principal_usdc) <= 10**12


def test_measure_tick_and_simulate__a_few_positions__act_on_those_that_are_due() -> None:
    world = World(COUNT)
    with open_ledger(world, due=DUE) as engine:
        assert measure_tick(engine, world, RULES, due=DUE)["tick_ms"] > 0
        figures = simulate(engine, world, RULES, harvests_max=40, pace_s=3_600)

    harvests = figures["harvests_a_year"] * figures["simulated_days"] / 365
    transactions = figures["transactions_a_year"] * figures["simulated_days"] / 365
    assert round(harvests) >= 40
    assert harvests / RULES.harvest_items_max <= transactions <= harvests
    assert figures["decisions"] >= harvests
    assert figures["credited_usdc_a_year"] > 0
    assert figures["lag_h"] > 0
    assert set(figures) >= set(FIGURES) - {"tick_ms"}


def test_run__everything_measured__writes_each_figure_once_and_the_ratios(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    batches = [BatchGas(100, 1, 60_000, 40_000), BatchGas(100, 100, 1_200_000, 900_000)]
    monkeypatch.setattr(main, "measure_gas", lambda: (batches, 82_000))
    monkeypatch.setattr(main, "measure_harvest_gas", lambda: 150_000)
    ticks = {1_000: 10.0, 1_000_000: 20.0}

    monkeypatch.setattr(main, "measure_apart", lambda count: {**FIGURES, "tick_ms": ticks[count]})

    result = main.run([1_000, 1_000_000])

    assert result["ratios"]["gas_per_request_vs_onchain_100"] == 82.0
    assert result["ratios"]["tick_1m_vs_1k"] == 2.0
    names = [row["name"] for row in result["rows"]]
    assert len(set(names)) == len(names)
    shown = capsys.readouterr().out
    assert "82,000 gas" in shown
    assert "1,000,000 365.0" in shown
    assert str(Path.home()) not in json.dumps(result)


def test_draw__gas_of_a_request__a_bar_each_and_shorter_the_less() -> None:
    gas = {
        "request_on_chain": 82_221.0,
        "request_of_100_on_1": 822.0,
        "request_of_10_on_10": 27_445.0,
    }
    root = ElementTree.fromstring(draw_gas(gas))

    bars = [one for one in root.findall("{*}rect") if one.attrib["class"] != "back"]
    lengths = [float(one.attrib["width"]) for one in bars]
    assert lengths[0] > lengths[2] > lengths[1] > 0
    assert [one.attrib["class"] for one in bars] == ["other", "ours", "ours"]
    assert "822 (100 x)" in "".join(root.itertext())


def test_tables__their_heads__stand_above_their_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_sizes({1_000: FIGURES}, 150_000)
    head, line, *_ = capsys.readouterr().out.splitlines()
    assert len(head) == len(line)
    print_gas([BatchGas(100, 1, 60_000, 40_000)], 82_000)
    *_, head, line, _ = capsys.readouterr().out.splitlines()
    assert len(head) == len(line)
