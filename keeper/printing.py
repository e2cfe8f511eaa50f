"""What a round did or would do, for a person (a table) or for a program (JSON lines)."""

import json
from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.table import Table

from contracts.units import format_usdc
from keeper.gas import gas_cost_usdc
from keeper.rounds import RoundReport, Step
from keeper.worth import SHARE, TOGETHER, Unworthy

_WHY: Final = {
    SHARE: "each costs {} USDC",
    TOGETHER: "one transaction for all costs {} USDC",
}


def build_unworthy_lines(report: RoundReport) -> Iterator[str]:
    """Return a sentence for each kind and reason for which items are left alone for their cost."""
    groups: dict[tuple[str, str], list[Unworthy]] = {}
    for one in report.unworthy:
        groups.setdefault((one.kind, one.reason), []).append(one)
    for (kind, reason), found in groups.items():
        costs = format_usdc(max(one.costs_usdc for one in found))
        brings = format_usdc(sum(one.brings_usdc for one in found))
        yield (
            f"Not worth its cost: {kind} x{len(found):,}, {_WHY[reason].format(costs)};"
            f" all together bring {brings} USDC."
        )


def get_fee_usdc(step: Step, *, ether_price_usdc: int) -> int | None:
    """Return what a step costs (1e-6 USDC, rounded up), None where it is not known."""
    if step.fee_wei is None:
        return None
    return gas_cost_usdc(1, step.fee_wei, ether_price_usdc=ether_price_usdc)


def build_lines(report: RoundReport, *, is_dry_run: bool, ether_price_usdc: int) -> Iterator[str]:
    """Return one JSON object for each transaction, for each item that is not worth its cost, and
    for the round. Amounts are integers."""
    for step in report.steps:
        yield json.dumps(
            {
                "event": "would_send" if is_dry_run else "sent",
                "job": step.kind,
                "reason": step.reason,
                "items": step.items,
                "amount_usdc": step.amount_usdc,
                "token_ids": list(step.token_ids),
                "gas": step.gas,
                "fee_wei": step.fee_wei,
                "l1_fee_wei": step.l1_fee_wei,
                "fee_usdc": get_fee_usdc(step, ether_price_usdc=ether_price_usdc),
                "intent_id": step.intent_id,
                "error": step.error,
            }
        )
    for one in report.unworthy:
        yield json.dumps(
            {
                "event": "not_worth_its_cost",
                "job": one.kind,
                "item": one.subject,
                "reason": one.reason,
                "brings_usdc": one.brings_usdc,
                "costs_usdc": one.costs_usdc,
            }
        )
    yield json.dumps(
        {
            "event": "round",
            "outcome": report.outcome,
            "acted": dict(report.acted),
            "refused": report.refused,
            "failures": report.failures,
            "waits_for": report.waits_for,
            "leases_voided": report.leases_voided,
        }
    )


def print_table(report: RoundReport, console: Console, *, ether_price_usdc: int) -> None:
    """Print what a dry run found: each transaction, why, what it costs, and what is left alone."""
    table = Table(title="What a round would do now", title_justify="left")
    for name in ("job", "why", "items", "USDC", "gas", "cost in USDC", "simulated"):
        table.add_column(name, justify="left" if name in ("job", "why", "simulated") else "right")
    for step in report.steps:
        fee_usdc = get_fee_usdc(step, ether_price_usdc=ether_price_usdc)
        verdict = "no" if step.gas is None else "passes"
        table.add_row(
            step.kind,
            step.reason,
            f"{step.items:,}",
            format_usdc(step.amount_usdc),
            "" if step.gas is None else f"{step.gas:,}",
            "" if fee_usdc is None else format_usdc(fee_usdc),
            verdict if step.error is None else f"fails: {step.error}",
        )
    for line in build_unworthy_lines(report):
        console.print(line, soft_wrap=True)
    reason = report.waits_for or "nothing is due"
    if not report.steps:
        console.print(f"Nothing would be sent: {reason}.", soft_wrap=True)
        return
    console.print(table)
    if report.waits_for is not None:
        console.print(f"First this is waited for: {reason}.", soft_wrap=True)
