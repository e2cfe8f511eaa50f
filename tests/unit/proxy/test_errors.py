"""What a refused buyer reads: what happened, in figures, and what helps.

::

    money: nothing there  → wait, until when
           some there     → a lower limit, fit, or wait
           fit was asked  → shorter messages, or wait
    every code that the sources name is in docs/api.md
"""

import re
from pathlib import Path
from typing import Final

import orjson
import pytest

import proxy
from ledger.chain.harvest_outlook import HarvestOutlook, NoHarvest
from ledger.errors import (
    AllowanceFacts,
    HarvestTimes,
    LimitFacts,
    RefusalReason,
    ReserveRefused,
)
from proxy.chat.upstream_errors import OPERATOR_CREDIT_SPENT
from proxy.errors import PRICE_CHANGED
from proxy.money_refusals import RATE_LIMIT_EXCEEDED, refused
from serving.http.errors import ApiError, method_not_allowed, path_not_found
from serving.http.protocol import INVALID_HTTP

ROOT: Final = Path(proxy.__file__).resolve().parents[1]
NOW_S: Final = 1_800_000_000
RESETS_AT_S: Final = 1_800_057_600
HARVEST: Final = HarvestOutlook(NOW_S + 600)
TIMES: Final = HarvestTimes(has_shares=True, last_harvest_at_s=0, look_at_s=0)


def make_facts(*, available_usdc: int = 0, as_of_s: int = NOW_S) -> AllowanceFacts:
    return AllowanceFacts(130, available_usdc, 7, 3, RESETS_AT_S, as_of_s, TIMES)


def refuse(
    reason: RefusalReason,
    *,
    available_usdc: int = 0,
    fit: bool = False,
    outlook: HarvestOutlook = HARVEST,
) -> ApiError:
    facts = make_facts(available_usdc=available_usdc)
    return refused(ReserveRefused(reason, facts), outlook=outlook, now_s=NOW_S, fit=fit)


@pytest.mark.parametrize(
    ("reason", "available_usdc", "fit", "advice"),
    [
        ("never_harvested", 0, False, "Wait for the next harvest, due at 2027-01-15T08:10:00Z."),
        ("allowance_spent", 0, False, "Wait for the next harvest, due at 2027-01-15T08:10:00Z."),
        (
            "allowance_spent",
            9,
            False,
            'Lower max_tokens, send "fit": true, or wait for the next harvest,'
            " due at 2027-01-15T08:10:00Z.",
        ),
        (
            "allowance_spent",
            9,
            True,
            "That is with the least output. Shorten the messages, or wait for the next harvest,"
            " due at 2027-01-15T08:10:00Z.",
        ),
        ("daily_cap_reached", 0, True, "Wait until it resets at 2027-01-16T00:00:00Z."),
        (
            "daily_cap_reached",
            9,
            False,
            'Lower max_tokens, send "fit": true, or wait until it resets at 2027-01-16T00:00:00Z.',
        ),
    ],
)
def test_refused__money__says_what_helps(
    reason: str, available_usdc: int, fit: bool, advice: str
) -> None:
    error = refuse(RefusalReason(reason), available_usdc=available_usdc, fit=fit)

    assert error.message.endswith(advice)
    assert (error.status, error.code) == (429, reason)
    assert error.headers["x-should-retry"] == "false"
    assert error.describe()["type"] == "insufficient_quota"
    wait_s = str(RESETS_AT_S - NOW_S) if reason == "daily_cap_reached" else None
    assert error.headers.get("retry-after") == wait_s
    assert error.facts == {
        "required_usdc": 130,
        "available_usdc": available_usdc,
        "held_usdc": 7,
        "resets_at": "2027-01-16T00:00:00Z",
        "next_harvest_at": "2027-01-15T08:10:00Z",
        "is_estimate": False,
        "no_harvest_because": None,
    }
    if reason != "never_harvested":
        assert "may cost up to 0.000130 USDC" in error.message
        assert f"0.00000{available_usdc} USDC is available" in error.message


@pytest.mark.parametrize(
    ("outlook", "advice"),
    [
        (
            HarvestOutlook(NOW_S + 600, is_estimate=True),
            'send "fit": true, or wait for the next harvest, expected, at the yield so far, at'
            " 2027-01-15T08:10:00Z.",
        ),
        (
            HarvestOutlook(None, reason=NoHarvest.NO_PRINCIPAL),
            'Lower max_tokens, or send "fit": true. No harvest is expected: the position has no'
            " principal that earns.",
        ),
        (
            HarvestOutlook(None, reason=NoHarvest.YIELD_BELOW_MINIMUM),
            "No harvest is expected yet: the position has earned less than 0.010000 USDC, the"
            " least that is harvested.",
        ),
        (
            HarvestOutlook(None, reason=NoHarvest.UNKNOWN),
            "When the next harvest comes is not known: the chain does not answer now.",
        ),
    ],
)
def test_refused__harvest_not_certain__not_promised(outlook: HarvestOutlook, advice: str) -> None:
    error = refuse(RefusalReason.ALLOWANCE_SPENT, available_usdc=9, outlook=outlook)

    assert error.message.endswith(advice)
    assert (error.facts["next_harvest_at"] is None) == (outlook.at_s is None)
    assert error.facts["is_estimate"] is outlook.is_estimate
    assert error.facts["no_harvest_because"] == outlook.reason


def test_refused__never_harvested_and_no_principal__nothing_to_wait_for() -> None:
    outlook = HarvestOutlook(None, reason=NoHarvest.NO_PRINCIPAL)

    error = refuse(RefusalReason.NEVER_HARVESTED, outlook=outlook)

    assert error.message == (
        "No yield has been harvested for this position yet, so there is nothing to spend."
        " No harvest is expected: the position has no principal that earns."
    )


def test_refused__daily_cap_and_chain_ahead__retry_by_the_chains_clock() -> None:
    facts = make_facts(as_of_s=RESETS_AT_S - 90)
    refusal = ReserveRefused(RefusalReason.DAILY_CAP_REACHED, facts)

    error = refused(refusal, outlook=HARVEST, now_s=NOW_S)

    assert error.headers["retry-after"] == "90"


def test_refused__hold_pending__told_to_come_again_soon() -> None:
    error = refuse(RefusalReason.HOLD_PENDING, available_usdc=500)
    assert (error.status, error.code) == (503, "hold_pending")
    assert error.headers["retry-after"] == "5"
    assert "x-should-retry" not in error.headers
    assert error.facts["available_usdc"] == 500


@pytest.mark.parametrize(
    ("limit", "resets_at_s", "headers"),
    [
        ("request", None, {"x-should-retry": "false"}),
        ("lifetime", None, {"x-should-retry": "false"}),
        ("day", NOW_S + 60, {"x-should-retry": "false", "retry-after": "60"}),
        ("requests_per_minute", NOW_S + 5, {"retry-after": "5"}),
        ("requests_per_minute", NOW_S, {"retry-after": "1"}),
        ("concurrency", None, {"retry-after": "1"}),
    ],
)
def test_refused__key_limit__retried_only_where_that_helps(
    limit: str, resets_at_s: int | None, headers: dict[str, str]
) -> None:
    limits = LimitFacts(limit, 10, 8, resets_at_s)
    refusal = ReserveRefused(RefusalReason.KEY_LIMIT_REACHED, make_facts(), limits)

    error = refused(refusal, outlook=HARVEST, now_s=NOW_S)

    assert (error.status, dict(error.headers)) == (429, headers)
    assert (error.facts["limit"], error.facts["limit_value"]) == (limit, 10)
    # Requests too fast are no matter of money: another code, and another type.
    kind = (error.code, error.describe()["type"])
    if limit in ("requests_per_minute", "concurrency"):
        assert kind == ("rate_limit_exceeded", "rate_limit_error")
        assert f"{limit} limit is 10, and 8 are used." in error.message
    else:
        assert kind == ("key_limit_reached", "insufficient_quota")
        assert "limit is 0.000010 USDC, of which 0.000008 USDC are used" in error.message
        assert "up to 0.000130 USDC" in error.message


@pytest.mark.parametrize("reason", list(RefusalReason))
def test_refused__any_reason__openai_shaped(reason: RefusalReason) -> None:
    body = orjson.loads(refuse(reason).body())["error"]
    assert body["code"] == reason
    assert {"message", "type", "code", "param"} <= body.keys()
    assert body["message"].endswith(".")


def test_paths__wrong__say_what_is_right() -> None:
    assert "'/nope'" in path_not_found("/nope").message
    error = method_not_allowed("GET", "POST")
    assert error.message == "GET is not possible here. Use POST."
    assert error.headers == {"allow": "POST"}
    assert method_not_allowed("X" * 100, None).message == f"{'X' * 20} is not possible here."


def test_document__names_every_code() -> None:
    built = re.compile(
        r"(?:bad_request|unavailable|upstream_failed|unauthorized|RequestRejected|TryLater)"
        r'\(\s*(?:\d+,\s*)?"([a-z_]+)"'
    )
    rooms = (ROOT / "proxy", ROOT / "serving")
    sources = [path.read_text() for room in rooms for path in room.rglob("*.py")]
    codes = {code for source in sources for code in built.findall(source)}
    codes |= set(RefusalReason) | {
        "minimum_discount_not_met",
        "upstream_rate_limited",
        PRICE_CHANGED,
        RATE_LIMIT_EXCEEDED,
        OPERATOR_CREDIT_SPENT,
        INVALID_HTTP,
    }
    # Of streams whose client has gone, and of what no request comes to.
    codes -= {"client_gone", "http_error"}
    assert len(codes) > 50
    rows = re.findall(r"^\| (.+?) \| .*\w.* \|$", (ROOT / "docs" / "api.md").read_text(), re.M)
    explained = {code for names in rows for code in re.findall(r"`([a-z_]+)`", names)}
    assert sorted(codes - explained) == []
