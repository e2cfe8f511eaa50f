"""What the keeper brought in and what it cost: by position, by kind of transaction, by day.

Yield and settlements are read from the mirrored events, costs from the keeper's own intents. The
figures are 1e-6 USDC; ``gas`` is all that a transaction cost, on a rollup the L1 data fee included.
It counts at ``KEEPER_ETHER_PRICE_USDC``, and a transaction's is shared in equal parts by the
positions it was for. ``margin`` is what was settled less that: what reaches the treasury before
sellers are paid.
"""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final
from xml.sax.saxutils import escape

from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, select

from contracts.events import decode_words
from contracts.units import SECONDS_PER_DAY, USDC_ONE, format_usdc
from keeper.gas import gas_cost_usdc
from ledger.intents.days import LeftAlone
from ledger.tables import Event, Intent, table_of

_event = table_of(Event)
_intent = table_of(Intent)

_AMOUNTS: Final = {"Harvested": ("adapter", "credited"), "Settled": ("position", "cost")}
_IN_A_BLOCK: Final = ("mined", "confirmed", "reverted")


@dataclass(frozen=True, slots=True)
class Movement:
    """Yield harvested or usage settled (1e-6 USDC), from one event."""

    name: str
    token_id: int
    at_s: int
    amount_usdc: int


@dataclass(frozen=True, slots=True)
class Spending:
    """One transaction's gas and what it cost, and the positions it was for."""

    kind: str
    at_s: int
    gas: int
    fee_usdc: int
    """All that it cost: gas, and on a rollup the L1 data fee."""
    token_ids: tuple[int, ...]
    l1_fee_usdc: int = 0
    """The L1 data fee in it."""


@dataclass(slots=True)
class Figures:
    """Sums, in 1e-6 USDC."""

    harvested_usdc: int = 0
    settled_usdc: int = 0
    gas_usdc: int = 0

    @property
    def margin_usdc(self) -> int:
        return self.settled_usdc - self.gas_usdc


@dataclass(slots=True)
class KindFigures:
    """What one kind of transaction cost."""

    transactions: int = 0
    gas: int = 0
    fee_usdc: int = 0
    l1_fee_usdc: int = 0
    left_items: int = 0
    """Items that were left alone because they cost more than they bring."""
    left_usdc: int = 0
    """What those would have brought."""


@dataclass(slots=True)
class YieldReport:
    """A period's figures."""

    since_s: int
    until_s: int
    total: Figures = field(default_factory=Figures)
    by_position: dict[int, Figures] = field(default_factory=lambda: defaultdict(Figures))
    by_kind: dict[str, KindFigures] = field(default_factory=lambda: defaultdict(KindFigures))
    by_slot: dict[int, Figures] = field(default_factory=lambda: defaultdict(Figures))
    """Figures by the number of ``slot_s`` since 1970; empty slots are left out."""

    @property
    def slot_s(self) -> int:
        """The time that a point of the plot covers: a day, in a short period an hour."""
        is_short = self.until_s - self.since_s <= SHORT_S
        return SECONDS_PER_HOUR if is_short else SECONDS_PER_DAY


def load_movements(connection: Connection, *, since_s: int) -> list[Movement]:
    """Return what was harvested and settled in blocks since ``since_s``."""
    rows = connection.execute(
        select(_event.c.name, _event.c.token_id, _event.c.block_timestamp_s, _event.c.words)
        .where(_event.c.name.in_(list(_AMOUNTS)), _event.c.block_timestamp_s >= since_s)
        .order_by(_event.c.block_number, _event.c.log_index)
    )
    found: list[Movement] = []
    for name, token_id, at_s, words in rows:
        contract, argument = _AMOUNTS[name]
        amount = decode_words("adapter" if contract == "adapter" else "position", name, words)
        found.append(Movement(name, int(token_id), int(at_s), int(amount[argument])))
    return found


def load_spending(connection: Connection, *, since_s: int, ether_price_usdc: int) -> list[Spending]:
    """Return the keeper's transactions that are in a block, of intents made since ``since_s``."""
    rows = connection.execute(
        select(
            _intent.c.kind,
            _intent.c.created_at_s,
            _intent.c.gas_used,
            _intent.c.fee_wei,
            _intent.c.l1_fee_wei,
            _intent.c.payload,
        )
        .where(_intent.c.state.in_(_IN_A_BLOCK), _intent.c.created_at_s >= since_s)
        .order_by(_intent.c.created_at_s, _intent.c.intent_id)
    )
    return [
        Spending(
            kind=str(kind),
            at_s=int(at_s),
            gas=int(gas or 0),
            fee_usdc=gas_cost_usdc(1, int(fee_wei or 0), ether_price_usdc=ether_price_usdc),
            l1_fee_usdc=gas_cost_usdc(1, int(l1_fee_wei or 0), ether_price_usdc=ether_price_usdc),
            token_ids=tuple(json.loads(payload)["action"]["token_ids"]),
        )
        for kind, at_s, gas, fee_wei, l1_fee_wei, payload in rows
    ]


def build_report(
    movements: Iterable[Movement],
    spending: Iterable[Spending],
    left: Mapping[str, LeftAlone] | None = None,
    *,
    since_s: int,
    until_s: int,
) -> YieldReport:
    """Add everything up; ``left`` is what was left alone, by kind, in whole days. Pure."""
    report = YieldReport(since_s, until_s)
    for kind, one in (left or {}).items():
        report.by_kind[kind].left_items = one.items
        report.by_kind[kind].left_usdc = one.brings_usdc
    for movement in movements:
        for figures in (
            report.total,
            report.by_position[movement.token_id],
            report.by_slot[movement.at_s // report.slot_s],
        ):
            if movement.name == "Harvested":
                figures.harvested_usdc += movement.amount_usdc
            else:
                figures.settled_usdc += movement.amount_usdc
    for spent in spending:
        report.total.gas_usdc += spent.fee_usdc
        report.by_slot[spent.at_s // report.slot_s].gas_usdc += spent.fee_usdc
        of_kind = report.by_kind[spent.kind]
        of_kind.transactions += 1
        of_kind.gas += spent.gas
        of_kind.fee_usdc += spent.fee_usdc
        of_kind.l1_fee_usdc += spent.l1_fee_usdc
        for token_id, share_usdc in _share(spent).items():
            report.by_position[token_id].gas_usdc += share_usdc
    return report


def _share(spent: Spending) -> Mapping[int, int]:
    """Share a fee so that the parts add up to it: the first ones bear what does not divide."""
    if not spent.token_ids:
        return {}
    part_usdc, rest = divmod(spent.fee_usdc, len(spent.token_ids))
    return {t: part_usdc + (place < rest) for place, t in enumerate(spent.token_ids)}


# ----------------------------------------------------------------------------------------- showing


def print_report(report: YieldReport, console: Console, *, positions_max: int = 50) -> None:
    """Print the totals, the kinds, and the positions that settled most."""
    kinds = Table(title="Cost by kind", title_justify="left")
    for name in (
        "kind",
        "transactions",
        "gas",
        "gas in USDC",
        "L1 data fee in USDC",
        "USDC",
        "left alone",
        "of USDC",
    ):
        kinds.add_column(name, justify="left" if name == "kind" else "right")
    for kind, cost in sorted(report.by_kind.items()):
        kinds.add_row(
            kind,
            f"{cost.transactions:,}",
            f"{cost.gas:,}",
            format_usdc(cost.fee_usdc - cost.l1_fee_usdc),
            format_usdc(cost.l1_fee_usdc),
            format_usdc(cost.fee_usdc),
            f"{cost.left_items:,}",
            format_usdc(cost.left_usdc),
        )
    console.print(kinds)
    table = Table(title="USDC by position", title_justify="left")
    for name in ("position", "harvested", "settled", "gas", "margin"):
        table.add_column(name, justify="right")
    ranked = sorted(report.by_position.items(), key=lambda pair: (-pair[1].settled_usdc, pair[0]))
    for token_id, figures in ranked[:positions_max]:
        table.add_row(str(token_id), *_cells(figures))
    if len(ranked) > positions_max:
        table.add_row(f"{len(ranked) - positions_max:,} more", "", "", "", "")
    table.add_section()
    table.add_row("all", *_cells(report.total))
    console.print(table)


def _cells(figures: Figures) -> list[str]:
    amounts = (
        figures.harvested_usdc,
        figures.settled_usdc,
        figures.gas_usdc,
        figures.margin_usdc,
    )
    return [format_usdc(amount) for amount in amounts]


def build_csv(report: YieldReport) -> str:
    """Return one line for each position and one for all, as integers of 1e-6 USDC.

    What no position caused (sweeps, payouts) is in the gas of the last line only.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["token_id", "harvested_usdc", "settled_usdc", "gas_usdc", "margin_usdc"])
    rows: list[tuple[int | str, Figures]] = [*sorted(report.by_position.items())]
    for name, figures in [*rows, ("all", report.total)]:
        amounts = (figures.harvested_usdc, figures.settled_usdc)
        writer.writerow([name, *amounts, figures.gas_usdc, figures.margin_usdc])
    return text.getvalue()


SECONDS_PER_HOUR: Final = 3_600
SHORT_S: Final = 3 * SECONDS_PER_DAY
WIDTH: Final = 760
HEIGHT: Final = 380
LEFT, RIGHT, TOP, BOTTOM = 76, 140, 44, 40
SERIES: Final = (
    ("harvested", "#0f766e"),
    ("settled", "#1d4ed8"),
    ("gas", "#b45309"),
)


def build_svg(report: YieldReport) -> str:
    """Draw the period's cumulative sums, a line each. Pure; needs nothing to be shown."""
    slot_s = report.slot_s
    first = report.since_s // slot_s
    last = max(report.until_s // slot_s, first + 1)
    # The sums stand at the ends of their slots; before the first one they are nothing.
    slots = range(first - 1, last + 1)
    lines = {name: _accumulate(report, slots, f"{name}_usdc") for name, _ in SERIES}
    step_usdc = _nice_step(max(max(line) for line in lines.values()))
    top_usdc = max(
        step_usdc, -(-max(max(line) for line in lines.values()) // step_usdc) * step_usdc
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}"'
        f' viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="24" font-size="15" fill="#111827">'
        f"{escape('Yield, usage and gas since ' + _name(first, slot_s) + ', USDC')}</text>",
    ]
    for value in range(0, top_usdc + 1, step_usdc):
        y = _y(value, top_usdc)
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e5e7eb"/>'
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#4b5563">'
            f"{_short(value)}</text>"
        )
    for slot in _spread(range(first, last + 1), 6):
        x = _x(slot - 1, first - 1, last)
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - 16}" text-anchor="middle" fill="#4b5563">'
            f"{_name(slot, slot_s)}</text>"
        )
    ends = _separate([(_y(lines[name][-1], top_usdc), name, color) for name, color in SERIES])
    for name, color in SERIES:
        points = " ".join(
            f"{_x(slot, first - 1, last):.1f},{_y(value, top_usdc):.1f}"
            for slot, value in zip(slots, lines[name], strict=True)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="2"/>')
    for y, name, color in ends:
        parts.append(
            f'<text x="{WIDTH - RIGHT + 8}" y="{y + 4:.1f}" fill="{color}">'
            f"{name} {_short(lines[name][-1], places=2)}</text>"
        )
    return "\n".join([*parts, "</svg>", ""])


def _accumulate(report: YieldReport, slots: Iterable[int], name: str) -> list[int]:
    total = 0
    line: list[int] = []
    for slot in slots:
        figures = report.by_slot.get(slot)
        total += 0 if figures is None else getattr(figures, name)
        line.append(total)
    return line


def _x(slot: int, first: int, last: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * (slot - first) / (last - first)


def _y(value: int, top: int) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / top


def _nice_step(largest: int) -> int:
    """Return a step of 1, 2 or 5 times a power of ten that divides ``largest`` into about five."""
    power = 1
    while True:
        for factor in (1, 2, 5):
            if factor * power * 5 >= largest:
                return factor * power
        power *= 10


def _spread(slots: Sequence[int], count: int) -> list[int]:
    stride = max(1, -(-len(slots) // count))
    return list(slots[::stride])


def _separate(ends: Iterable[tuple[float, str, str]]) -> list[tuple[float, str, str]]:
    """Move labels apart, from the bottom up, so that none covers another."""
    placed: list[tuple[float, str, str]] = []
    for y, name, color in sorted(ends, reverse=True):
        limit = placed[-1][0] - 15 if placed else y
        placed.append((min(y, limit), name, color))
    return placed


def _short(amount_usdc: int, *, places: int = 6) -> str:
    """Return USDC with at most ``places`` decimals, cut; with all of them below one USDC."""
    head, _, decimals = format_usdc(amount_usdc).partition(".")
    kept = decimals[: places if amount_usdc >= USDC_ONE else 6].rstrip("0")
    return f"{int(head):,}" + (f".{kept}" if kept else "")


def _name(slot: int, slot_s: int) -> str:
    """Return when a slot begins, UTC."""
    begin = datetime.fromtimestamp(slot * slot_s, tz=UTC)
    return begin.strftime("%Y-%m-%d" if slot_s == SECONDS_PER_DAY else "%m-%d %H:%M")


def parse_period_s(text: str) -> int:
    """Parse ``7d``, ``12h`` or ``30m`` into seconds. Raises ``ValueError``."""
    units = {"d": SECONDS_PER_DAY, "h": 3_600, "m": 60}
    number, unit = text[:-1], text[-1:]
    if unit not in units or not number.isdecimal() or int(number) == 0:
        raise ValueError(f"not a period such as 7d, 12h or 30m: {text!r}")
    return int(number) * units[unit]
