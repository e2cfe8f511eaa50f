"""The status as a person reads it."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from contracts.units import format_usdc


def build_screen(facts: Mapping[str, Any]) -> RenderableType:
    """Return one screen of what ``gather`` found."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for name, text in (
        ("chain", _tell_chain(facts["chain"])),
        ("positions", _tell_positions(facts["positions"])),
        ("requests", _tell_usage(facts["usage"])),
        ("keeper", _tell_keeper(facts["keeper"])),
        ("market", _tell_market(facts["market"])),
        ("payouts", _tell_payouts(facts["market"])),
        ("servers", _tell_processes(facts["processes"])),
    ):
        table.add_row(name, text)
    return Group(table, _tell_alarms(facts["alarms"]))


def _tell_chain(chain: Mapping[str, Any]) -> str:
    if chain["mirrored_block"] is None:
        return "nothing is mirrored yet"
    head = "the node does not answer" if chain["head_block"] is None else f"{chain['head_block']:,}"
    return (
        f"head {head}, mirrored {chain['mirrored_block']:,}, {chain['lag_blocks']} behind,"
        f" at the head {_age(chain['age_s'])} ago"
    )


def _tell_positions(positions: Mapping[str, int]) -> str:
    credit = {name: format_usdc(positions[f"{name}_usdc"]) for name in _CREDIT}
    return (
        f"{positions['count']:,}, {positions['with_hold']:,} with a live hold;"
        f" principal {credit['principal']} USDC, credited {credit['credited']},"
        f" spent {credit['spent']}, withdrawn {credit['withdrawn']};"
        f" held {credit['held']}, drawn {credit['drawn']}"
    )


_CREDIT = ("principal", "credited", "spent", "withdrawn", "held", "drawn")


def _tell_usage(usage: Mapping[str, Any]) -> str:
    waits = f"{format_usdc(usage['posted_usdc'])} USDC wait for a settlement"
    if usage["posted_oldest_s"] is not None:
        waits += f", the oldest for {_age(usage['posted_oldest_s'])}"
    return (
        f"{usage['in_flight']} in flight; {usage['day_requests']:,} in 24 hours for"
        f" {format_usdc(usage['day_usdc'])} USDC; {waits}"
    )


def _tell_keeper(keeper: Mapping[str, Any]) -> str:
    intents = ", ".join(
        f"{one['kind']} {one['state']} for {_age(one['age_s'])}" for one in keeper["intents"][:5]
    )
    gas = format_usdc(sum(keeper["gas_day_usdc"].values()))
    ether = ", ".join(f"{role} {wei / 10**18:.4f}" for role, wei in keeper["balances_wei"].items())
    more = f" and {len(keeper['intents']) - 5} more" if len(keeper["intents"]) > 5 else ""
    stopped = f"; at rest: {', '.join(keeper['stopped_kinds'])}" if keeper["stopped_kinds"] else ""
    return (
        f"{intents or 'no transaction under way'}{more}; gas today {gas} USDC;"
        f" ether: {ether or 'no key here'}{stopped}"
    )


def _tell_market(market: Mapping[str, Any]) -> str:
    failing = ", ".join(
        f"{seller} ({count})" for seller, count in market["failing_sellers"].items()
    )
    prepaid = market["prepaid_usdc"]
    left = format_usdc(prepaid["credited"] - prepaid["spent"] - prepaid["reserved"])
    return (
        f"offers: {_counts(market['offers'])}; in 24 hours {_counts(market['day_sales'])} for"
        f" {format_usdc(market['day_cost_usdc'])} USDC, of which sellers earned"
        f" {format_usdc(market['day_earning_usdc'])}; buyers' credit {left} USDC"
        + (f"; failing: {failing}" if failing else "")
    )


def _tell_payouts(market: Mapping[str, Any]) -> str:
    oldest = market["payouts_oldest_s"]
    since = "" if oldest is None else f", the oldest for {_age(oldest)}"
    suppliers = _counts(market["supplier_payouts"])
    amount = format_usdc(market["payouts_waiting_usdc"])
    return f"{market['payouts_waiting']} wait, {amount} USDC{since}; suppliers': {suppliers}"


def _tell_processes(processes: list[Mapping[str, Any]]) -> str:
    told = [
        f"{one['role']} up {_age(one['up_s'])}"
        + (f", silent for {_age(one['silent_s'])}" if (one["silent_s"] or 0) > 10 else "")
        for one in processes
    ]
    return "; ".join(told) or "none has shown that it lives"


def _tell_alarms(alarms: list[Mapping[str, Any]]) -> Text:
    if not alarms:
        return Text("no alarm stands", style="green")
    lines = []
    for alarm in alarms:
        facts = ", ".join(f"{name} {value}" for name, value in alarm.items() if name != "alarm")
        lines.append(f"ALARM {alarm['alarm']}: {facts}" if facts else f"ALARM {alarm['alarm']}")
    return Text("\n".join(lines), style="bold red")


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(found.items())) or "none"


def _age(seconds: int | None) -> str:
    if seconds is None:
        return "?"
    for unit, length_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length_s:
            return f"{seconds // length_s} {unit}"
    return f"{seconds} s"
