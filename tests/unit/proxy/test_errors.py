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
from ledger.errors import AllowanceFacts, LimitFacts, RefusalReason, ReserveRefused
from proxy.errors import PRICE_CHANGED, refused
from serving.http.errors import ApiError, method_not_allowed, path_not_found
from serving.http.protocol import INVALID_HTTP

ROOT: Final = Path(proxy.__file__).resolve().parents[1]
NOW_S: Final = 1_800_000_000
RESETS_AT_S: Final = 1_800_057_600
HARVEST_AT_S: Final = NOW_S + 600


def refuse(reason: RefusalReason, *, available_usdc: int = 0, fit: bool = False) -> ApiError:
    facts = AllowanceFacts(130, available_usdc, 7, 3, RESETS_AT_S, HARVEST_AT_S)
    return refused(ReserveRefused(reason, facts), now_s=NOW_S, fit=fit)


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
            "shorten the messages, or wait for the next harvest, due at 2027-01-15T08:10:00Z.",
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
    }
    if reason != "never_harvested":
        assert f"up to 130 and {available_usdc} is available" in error.message


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
    facts = AllowanceFacts(130, 500, 7, 3, RESETS_AT_S, HARVEST_AT_S)
    limits = LimitFacts(limit, 10, 8, resets_at_s)
    refusal = ReserveRefused(RefusalReason.KEY_LIMIT_REACHED, facts, limits)

    error = refused(refusal, now_s=NOW_S)

    assert (error.status, error.code, dict(error.headers)) == (429, "key_limit_reached", headers)
    assert (error.facts["limit"], error.facts["limit_value"]) == (limit, 10)


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
        INVALID_HTTP,
    }
    # Of streams whose client has gone, and of what no request comes to.
    codes -= {"client_gone", "http_error"}
    assert len(codes) > 50
    document = (ROOT / "docs" / "api.md").read_text()
    assert [code for code in sorted(codes) if f"`{code}`" not in document] == []
