"""Where a supplier is paid, what it sold and was paid; and notices of who pays it."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any, Final

import structlog
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import Connection, RowMapping

from contracts.units import utc_day
from ledger.suppliers.supplier_payouts import hasten_external
from market.http.dependencies import PAGE_MAX, Limit, ServicesDep
from market.http.supply.dependencies import (
    SESSION_OR_KEY,
    SIGNED,
    PayoutsReaderDep,
    UsageReaderDep,
)
from market.http.supply.payouts.describing import (
    describe_payout,
    describe_totals,
    describe_usage,
)
from market.http.supply.payouts.schemas import (
    NoticeTaken,
    SupplierPayoutPage,
    SupplyOverview,
    SupplyUsagePage,
    UsageLine,
)
from market.records.supply_records import (
    count_supply_offers,
    load_payout_totals,
    load_supplier_payouts,
    load_usage,
    load_usage_totals,
)
from market.suppliers.nowpayments_ipn import BYTES_MAX, NoticeInvalid, is_signed, parse_notice
from market.suppliers.payout_lines import (
    PAYOUT_COLUMNS,
    USAGE_COLUMNS,
    build_payout_line,
    build_usage_line,
)
from market.suppliers.settling_days import parse_day
from serving.http.bodies import read_body
from serving.http.document.schemas import errors_of
from serving.http.document.writing import table_of_lines
from serving.http.errors import bad_request, wrong_type
from serving.http.tables import write_csv

log = structlog.get_logger("market")

router = APIRouter(tags=["supply"])

_USAGE_CURSOR: Final = re.compile(r"(\d{1,6})~([0-9a-f-]{1,64})~(\d{1,18})")
LINES_MAX: Final = 10**9
_PAYOUT_CURSOR: Final = r"^[0-9a-z-]{1,64}$"
PayoutCursor = Annotated[str | None, Query(max_length=64, pattern=_PAYOUT_CURSOR)]
UsageCursor = Annotated[str | None, Query(max_length=96, pattern="^[0-9a-f~-]*$")]
LinesMax = Annotated[
    int | None, Query(ge=1, le=LINES_MAX, description="how many lines at most; left out: all")
]
DayQuery = Annotated[
    str | None, Query(description="the first UTC day, such as 2026-03-31", max_length=10)
]


# ------------------------------------------------------------------------------------------ payouts


@router.get(
    "/v1/supply/payouts",
    responses=SIGNED,
    dependencies=SESSION_OR_KEY,
    name="list_supplier_payouts",
)
async def list_payouts(
    services: ServicesDep,
    caller: PayoutsReaderDep,
    cursor: PayoutCursor = None,
    limit: Limit = 100,
) -> SupplierPayoutPage:
    """List the settled days, newest first, with the totals of all."""

    def load(connection: Connection) -> Any:
        rows = load_supplier_payouts(
            connection, supplier_id=caller.supplier_id, before=cursor, limit=limit
        )
        return rows, load_payout_totals(connection, caller.supplier_id)

    rows, totals = await services.database.read(load)
    return SupplierPayoutPage(
        chain_id=services.chain_id,
        totals=describe_totals(totals),
        payouts=[describe_payout(row) for row in rows],
        next_cursor=rows[-1]["payout_id"] if len(rows) == limit else None,
    )


@router.get(
    "/v1/supply/payouts.csv",
    response_class=Response,
    responses={**SIGNED, 200: table_of_lines(PAYOUT_COLUMNS)},
    dependencies=SESSION_OR_KEY,
    name="export_supplier_payouts",
)
async def export_payouts(
    services: ServicesDep,
    caller: PayoutsReaderDep,
    cursor: PayoutCursor = None,
    limit: LinesMax = None,
) -> StreamingResponse:
    """Return the settled days as CSV for accountants, newest first: all of them, unless `limit`
    says how many."""
    supplier = caller.supplier

    async def load(before: RowMapping | None, count: int) -> list[RowMapping]:
        before_id = cursor if before is None else before["payout_id"]
        return await services.database.read(
            lambda connection: load_supplier_payouts(
                connection, supplier_id=supplier.supplier_id, before=before_id, limit=count
            )
        )

    def build(row: RowMapping) -> dict[str, Any]:
        return build_payout_line(
            row,
            legal_name=supplier.legal_name,
            registration_number=supplier.registration_number,
        )

    return await _send_csv(load, build, PAYOUT_COLUMNS, limit)


@router.post(
    "/v1/supply/payouts/ipn",
    responses=errors_of(400, 405, 408, 413),
    name="take_payout_notice",
)
async def take_notice(request: Request, services: ServicesDep) -> NoticeTaken:
    """Take a notice of NOWPayments (IPN). It must be signed, and is a hint only: how the payout
    stands is asked of them before anything changes."""
    raw = await read_body(
        request.scope,
        request.receive,
        services,
        keep_open=services.limits.keep_open,
        bytes_max=BYTES_MAX,
    )
    signature = request.headers.get("x-nowpayments-sig")
    if not is_signed(raw, signature, services.supply.ipn_secret):
        message = "The notice is not signed as NOWPayments signs."
        raise bad_request("invalid_signature", message)
    try:
        external_id = str(parse_notice(raw).get("id", ""))
    except NoticeInvalid as error:
        raise bad_request("invalid_notice", f"The notice is {error}.") from None
    now_s = services.database.now_s()
    is_known = await services.database.write(
        lambda connection: hasten_external(connection, external_id, now_s=now_s)
    )
    log.info("payout_notice", external_id=external_id[:64], is_known=is_known)
    return NoticeTaken()


# -------------------------------------------------------------------------------------------- usage


def _read_day(text: str | None) -> int:
    try:
        return 0 if text is None else max(0, parse_day(text))
    except ValueError:
        raise wrong_type("from", "a UTC day such as 2026-03-31") from None


def _read_usage_cursor(text: str | None) -> tuple[int, str, int] | None:
    if text is None:
        return None
    match = _USAGE_CURSOR.fullmatch(text)
    if match is None:
        raise wrong_type("cursor", "a next_cursor of this list")
    return int(match[1]), match[2], int(match[3])


@router.get(
    "/v1/supply/usage", responses=SIGNED, dependencies=SESSION_OR_KEY, name="list_supply_usage"
)
async def list_usage(
    services: ServicesDep,
    caller: UsageReaderDep,
    from_day: DayQuery = None,
    cursor: UsageCursor = None,
    limit: Limit = 100,
) -> SupplyUsagePage:
    """List what was sold by day, offer and bid, oldest first, with the totals of all days."""
    day, after = _read_day(from_day), _read_usage_cursor(cursor)

    def load(connection: Connection) -> Any:
        rows = load_usage(
            connection, supplier_id=caller.supplier_id, from_day=day, after=after, limit=limit
        )
        totals = load_usage_totals(connection, supplier_id=caller.supplier_id, from_day=day)
        return rows, totals

    rows, totals = await services.database.read(load)
    last = rows[-1] if len(rows) == limit else None
    return SupplyUsagePage(
        totals=describe_usage(totals),
        usage=[UsageLine.model_validate(build_usage_line(row)) for row in rows],
        next_cursor=None if last is None else "~".join(map(str, _place_of(last))),
    )


@router.get(
    "/v1/supply/usage.csv",
    response_class=Response,
    responses={**SIGNED, 200: table_of_lines(USAGE_COLUMNS)},
    dependencies=SESSION_OR_KEY,
    name="export_supply_usage",
)
async def export_usage(
    services: ServicesDep,
    caller: UsageReaderDep,
    from_day: DayQuery = None,
    cursor: UsageCursor = None,
    limit: LinesMax = None,
) -> StreamingResponse:
    """Return what was sold as CSV, oldest first: all of it, unless `limit` says how many lines."""
    day, first_after = _read_day(from_day), _read_usage_cursor(cursor)

    async def load(last: RowMapping | None, count: int) -> list[RowMapping]:
        after = first_after if last is None else _place_of(last)
        return await services.database.read(
            lambda connection: load_usage(
                connection,
                supplier_id=caller.supplier_id,
                from_day=day,
                after=after,
                limit=count,
            )
        )

    return await _send_csv(load, build_usage_line, USAGE_COLUMNS, limit)


@router.get(
    "/v1/supply/overview",
    responses=SIGNED,
    dependencies=SESSION_OR_KEY,
    name="get_supply_overview",
)
async def get_overview(services: ServicesDep, caller: UsageReaderDep) -> SupplyOverview:
    """Return what a dashboard shows first; all sums are the server's."""
    today, supplier_id = utc_day(services.database.now_s()), caller.supplier_id

    def load(connection: Connection) -> Any:
        return (
            count_supply_offers(connection, supplier_id),
            load_usage_totals(connection, supplier_id=supplier_id, from_day=today),
            load_usage_totals(connection, supplier_id=supplier_id, from_day=today - 29),
            load_payout_totals(connection, supplier_id),
        )

    offers, of_today, of_month, payouts = await services.database.read(load)
    supplier, supply = caller.supplier, services.supply
    if not supplier.is_approved and offers:
        offers = {"suspended": sum(offers.values())}
    return SupplyOverview(
        status=supplier.kyb_status,
        offers=offers,
        today=describe_usage(of_today),
        last_30_days=describe_usage(of_month),
        payouts=describe_totals(payouts),
        fee_bps=supply.terms.fee_bps if supplier.fee_bps is None else supplier.fee_bps,
        settles_at=supply.settles_at,
    )


def _place_of(row: RowMapping) -> tuple[int, str, int]:
    return int(row["day"]), str(row["supply_offer_id"]), int(row["bid_usdc_per_mtok"])


async def _send_csv(
    load: Callable[[RowMapping | None, int], Awaitable[list[RowMapping]]],
    build: Callable[[RowMapping], dict[str, Any]],
    columns: tuple[str, ...],
    limit: int | None,
) -> StreamingResponse:
    """Send all lines, a page at a time; at most ``limit``. ``load`` returns the page after a row.

    What fails after the first page breaks the answer off: no file ends early and looks whole.
    """
    first = await load(None, PAGE_MAX if limit is None else min(limit, PAGE_MAX))

    async def send() -> AsyncIterator[bytes]:
        rows, left = first, limit
        yield write_csv(map(build, rows), columns)
        while len(rows) == PAGE_MAX:
            left = None if left is None else left - len(rows)
            if left == 0:
                return
            rows = await load(rows[-1], PAGE_MAX if left is None else min(left, PAGE_MAX))
            yield write_csv(map(build, rows), columns, with_head=False)

    return StreamingResponse(send(), media_type="text/csv")
