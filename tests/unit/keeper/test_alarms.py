"""Which alarms stand, when they are logged, and what the metrics show of them."""

from dataclasses import replace

import pytest

from keeper.alarms import NAMES, Alarm, AlarmRules, Bell, Vitals, decide_alarms
from keeper.duties.registry import KINDS
from keeper.metrics import KeeperMetrics
from keeper.rounds import RoundOutcome, RoundReport, Step

RULES = AlarmRules(
    balance_wei_min=100,
    fee_wei_max=50,
    max_staleness_s=60,
    settle_age_s_max=3_600,
    payment_age_s_max=120,
    clock_behind_s_max=5,
    clock_off_s_max=5,
)
WELL = Vitals(
    mirror_age_s=60,
    oldest_posted_s=3_600,
    posted_usdc=7,
    debts_usdc={},
    balance_wei=100,
    fee_wei=50,
    clock_behind_s=5,
)


def test_decide_alarms__all_within_bounds__none() -> None:
    assert decide_alarms(WELL, RULES) == []
    assert decide_alarms(replace(WELL, oldest_posted_s=None), RULES) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"balance_wei": 99}, Alarm("balance_low", {"balance_wei": 99, "balance_wei_min": 100})),
        ({"balance_wei": 0}, Alarm("balance_low", {"balance_wei": 0, "balance_wei_min": 100})),
        ({"fee_wei": 51}, Alarm("gas_price_high", {"fee_wei": 51, "fee_wei_max": 50})),
        ({"mirror_age_s": 61}, Alarm("mirror_stale", {"age_s": 61})),
        ({"mirror_age_s": None}, Alarm("mirror_stale", {"age_s": None})),
        (
            {"oldest_posted_s": 3_601},
            Alarm("settlement_late", {"age_s": 3_601, "posted_usdc": 7}),
        ),
        (
            {"debts_usdc": {3: 1, 4: 5}},
            Alarm("bad_debt", {"debt_usdc": 6, "token_ids": [4, 3]}),
        ),
        (
            {"waiting_kinds": ["x402"], "gas_day_usdc": {"x402": 5, "hold": 6}},
            Alarm("gas_budget", {"spent_usdc": {"x402": 5}}),
        ),
        ({"stopped_kinds": ["hold"]}, Alarm("kind_stopped", {"kinds": ["hold"]})),
        ({"clock_behind_s": 6}, Alarm("clock_behind", {"seconds": 6})),
        ({"balance_wei": None, "fee_wei": None}, Alarm("node_away")),
    ],
)
def test_decide_alarms__one_bound_passed__that_alarm(
    changes: dict[str, object], expected: Alarm
) -> None:
    alarms = decide_alarms(replace(WELL, **changes), RULES)  # type: ignore[arg-type]

    assert alarms == [expected]
    assert expected.name in NAMES


def test_bell__an_alarm_that_stands__rings_at_once_then_once_in_a_while_until_it_is_over() -> None:
    bell = Bell(repeat_s=100)
    alarm = Alarm("node_away")

    assert bell.ring([alarm], now_s=0) == ([alarm], [])
    assert bell.ring([alarm], now_s=99) == ([], [])
    assert bell.ring([alarm], now_s=100) == ([alarm], [])
    assert bell.ring([], now_s=101) == ([], ["node_away"])
    assert bell.ring([], now_s=102) == ([], [])
    assert bell.ring([alarm], now_s=103) == ([alarm], [])


def test_metrics__before_anything__every_label_is_zero() -> None:
    value = KeeperMetrics().registry.get_sample_value

    for name in NAMES:
        assert value("current_keeper_alarm", {"alarm": name}) == 0
    for kind in KINDS:
        assert value("current_keeper_items_total", {"kind": kind}) == 0
    for outcome in [*RoundOutcome, "broken"]:
        assert value("current_keeper_rounds_total", {"outcome": outcome}) == 0


def test_metrics__rounds_and_vitals__are_counted_and_shown() -> None:
    metrics = KeeperMetrics()
    report = RoundReport(outcome=RoundOutcome.ACTED, refused=["one"], leases_voided=4)
    report.acted["settle"] = 3
    report.steps.append(Step("settle", "age x3", 3, 30, fee_wei=9))
    report.steps.append(Step("hold", "open x1", 1, 10, fee_wei=2, error="reverted"))

    metrics.note_round(report, seconds=0.2)
    metrics.note_round(None, seconds=0.1)
    vitals = replace(
        WELL, debts_usdc={1: 5, 2: 6}, stopped_kinds=["hold"], gas_day_usdc={"settle": 12}
    )
    metrics.note_vitals(vitals, decide_alarms(vitals, RULES))

    value = metrics.registry.get_sample_value
    assert value("current_keeper_rounds_total", {"outcome": "acted"}) == 1
    assert value("current_keeper_rounds_total", {"outcome": "broken"}) == 1
    assert value("current_keeper_round_seconds_count") == 2
    assert value("current_keeper_items_total", {"kind": "settle"}) == 3
    assert value("current_keeper_fee_wei_total", {"kind": "settle"}) == 9
    reverted = {"kind": "hold", "outcome": "reverted"}
    assert value("current_keeper_transactions_total", reverted) == 1
    assert value("current_keeper_refused_items_total") == 1
    assert value("current_keeper_leases_voided_total") == 4
    assert value("current_keeper_bad_debt_usdc") == 11
    assert value("current_keeper_gas_day_usdc", {"kind": "settle"}) == 12
    assert value("current_keeper_kind_stopped", {"kind": "hold"}) == 1
    assert value("current_keeper_alarm", {"alarm": "bad_debt"}) == 1
    assert value("current_keeper_alarm", {"alarm": "node_away"}) == 0
