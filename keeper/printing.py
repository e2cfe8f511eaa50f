"""What a round did or would do, for a person (a table) or for a program (JSON lines)."""

import json
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from contracts.units import format_usdc
from keeper.gas import gas_cost_usdc
from keeper.rounds import RoundReport, Step


def get_fee_usdc(step: Step, *, ether_price_usdc: int) -> int | None:
    """Return what a step's gas costs (1e-6 USDC, rounded up), None where it is not known."""
    if step.fee_wei is None:
        return None
    return gas_cost_usdc(1, step.fee_wei, ether_price_usdc=ether_price_usdc)


def build_lines(report: RoundReport, *, is_dry_run: bool, ether_price_usdc: int) -> Iterator[str]:
    """Return one JSON object for each transaction, and one for the round. Amounts are integers."""
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
                "fee_usdc": get_fee_usdc(step, ether_price_usdc=ether_price_usdc),
                "intent_id": step.intent_id,
                "error": step.error,
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
    """Print what a dry run found: each transaction, why, and what it costs."""
    table = Table(title="What a round would do now", title_justify="left")
    for name in ("job", "why", "items", "USDC", "gas", "gas in USDC", "simulated"):
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
    reason = report.waits_for or "nothing is due"
    if not report.steps:
        console.print(f"Nothing would be sent: {reason}.", soft_wrap=True)
        return
    console.print(table)
    if report.waits_for is not None:
        console.print(f"First this is waited for: {reason}.", soft_wrap=True)
