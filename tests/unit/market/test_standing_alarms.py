"""What an operator must hear of, one limit at a time.

::

    nothing is wrong        no alarm
    at a limit, beyond it   silent, raised; with its figures
    a mirror that is not there is stale
"""

from dataclasses import replace
from typing import Any

import pytest

from market.standing_alarms import (
    MAIL_S,
    MIRROR_S,
    PAYOUT_S,
    REVIEW_S,
    SETTLEMENT_S,
    SILENT_S,
    Signs,
    decide_standing_alarms,
)

CALM = Signs(
    mirror_age_s=2,
    silent_s={"indexer": 1, "market": 2},
    posted_oldest_s=None,
    stopped_kinds=(),
    debt_usdc=0,
    payouts_oldest_s=None,
    supplier_payouts={"sent": 9, "submitted": 1},
    mails_failed=0,
    mail_oldest_s=None,
    review_oldest_s=None,
)


def raised(**changes: Any) -> list[tuple[str, str]]:
    return [(one.name, one.detail) for one in decide_standing_alarms(replace(CALM, **changes))]


def test_alarms__nothing_is_wrong__none() -> None:
    assert raised() == []


@pytest.mark.parametrize(
    ("name", "field", "limit"),
    [
        ("mirror_stale", "mirror_age_s", MIRROR_S),
        ("settlement_late", "posted_oldest_s", SETTLEMENT_S),
        ("payouts_late", "payouts_oldest_s", PAYOUT_S),
        ("mails_stuck", "mail_oldest_s", MAIL_S),
        ("reviews_late", "review_oldest_s", REVIEW_S),
    ],
)
def test_alarms__an_age_beyond_its_limit__is_raised(name: str, field: str, limit: int) -> None:
    assert raised(**{field: limit}) == []
    ((found, detail),) = raised(**{field: limit + 1})
    assert found == name
    assert detail == ("0 given up" if name == "mails_stuck" else f"{limit + 1} s")


@pytest.mark.parametrize(
    ("changes", "alarm"),
    [
        ({"mirror_age_s": None}, ("mirror_stale", "never")),
        (
            {"silent_s": {"market": SILENT_S + 1}},
            ("process_silent", f"market for {SILENT_S + 1} s"),
        ),
        ({"stopped_kinds": ("harvest", "settle")}, ("kind_stopped", "harvest, settle")),
        ({"debt_usdc": 1}, ("bad_debt", "1 1e-6 USDC")),
        (
            {"supplier_payouts": {"failed": 1, "needs_operator": 2}},
            ("supplier_payouts_stuck", "3 payouts"),
        ),
        ({"mails_failed": 2}, ("mails_stuck", "2 given up")),
    ],
)
def test_alarms__one_thing_is_wrong__is_raised_alone(
    changes: dict[str, Any], alarm: tuple[str, str]
) -> None:
    assert raised(**changes) == [alarm]
