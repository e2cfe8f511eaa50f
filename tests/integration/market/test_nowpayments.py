"""Payouts by NOWPayments, whose double misbehaves: each supplier's day is paid once.

::

    asked ──► id noted ──► confirmed by a code ──► followed ──► sent, with one mail
    answer lost, 500 after acceptance ──► listed and matched before anything is sent again
    refused for one of a batch ──► each alone; an address: failed, or waits for the whitelist
    refused for the account's sake, or for what nobody knows ──► waits
    failed ──► needs the operator, and may still become sent; rejected ──► failed
    another address or amount than was asked for ──► needs the operator
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, select, update

from contracts.units import SECONDS_PER_DAY
from ledger.audit import find_violations
from ledger.database.engine import read, write
from ledger.running import running_ledger
from ledger.suppliers.accounts import set_kyb_status
from ledger.suppliers.settlement import settle_chunk
from ledger.suppliers.supplier_payouts import hasten_external
from ledger.tables import OutboxMail, SupplyAddress, table_of
from market.operator import ArgumentInvalid
from market.records.database import Database
from market.suppliers import nowpayments
from market.suppliers.nowpayments_rail import (
    LATER,
    RESEND_AFTER_S,
    VERIFY_TRIES_MAX,
    NowPaymentsRail,
)
from market.suppliers.payout_desk import mark_failed, send_again
from tests.support.ledgers import NOW_S, make_ledger
from tests.support.nowpayments import ACCOUNT, NowPaymentsDouble
from tests.support.supply import (
    TERMS,
    TODAY,
    list_payouts,
    put_address,
    put_buyer,
    put_supplier,
    put_supply_offer,
    sell,
)

OTHER_TRON = "TLyqzVGLV1srkB7dToTAEqgDSfPtXRJZYH"
TRON = "TJRabPrwbZy45sbavfcjinPJC18kjpRTv8"
PAYOUT = "2027-01-15-s"
START_S = NOW_S + SECONDS_PER_DAY


class Desk:
    """One process that pays by NOWPayments, and the other end."""

    def __init__(self, engine: Engine, database: Database, double: NowPaymentsDouble) -> None:
        self.engine = engine
        self.database = database
        self.double = double
        self.rail = NowPaymentsRail(database, double.build_client())

    async def step(self, after_s: float = 3_601) -> str:
        """Let time pass, make one step; return the statuses."""
        self.double.now_s += after_s
        await self.rail.step()
        return self.statuses

    @property
    def statuses(self) -> str:
        return " ".join(str(row["status"]) for row in self.rows)

    @property
    def rows(self) -> list[dict[str, Any]]:
        with read(self.engine) as connection:
            assert find_violations(connection) == []
            return list_payouts(connection)


@asynccontextmanager
async def run_desk(path: Path, *suppliers: str) -> AsyncIterator[Desk]:
    """Run a desk with a settled day of each supplier, of 8.5 USDT."""
    engine = make_ledger(path)
    with write(engine) as connection:
        put_buyer(connection)
        for supplier_id in suppliers or ("s",):
            put_supplier(connection, supplier_id)
            offer_id = f"so-{supplier_id}"
            put_supply_offer(
                connection, offer_id, supplier_id=supplier_id, bid_usdc_per_mtok=10_000_000
            )
            put_address(connection, supplier_id, network="trc20", address=TRON)
            sell(
                connection,
                1_000_000,
                supplier_id=supplier_id,
                supply_offer_id=offer_id,
                bid=10_000_000,
            )
        settle_chunk(connection, day=TODAY, terms=TERMS, now_s=START_S)
    double = NowPaymentsDouble(now_s=START_S)
    async with running_ledger(
        Database,
        engine,
        role="market",
        timeout_s=60.0,
        retry_delays_s=(),
        host_clock=lambda: double.now_s,
    ) as database:
        desk = Desk(engine, database, double)
        with pytest.MonkeyPatch.context() as patch:
            # The operator's commands are of the desk's day, too, whatever the calendar says.
            patch.setattr("market.suppliers.payout_desk.ask_now_s", lambda _: int(double.now_s))
            try:
                yield desk
            finally:
                await desk.rail.close()
    engine.dispose()


@pytest.mark.parametrize("upper", [False, True])
async def test_payout__from_pending_to_sent__with_one_mail(tmp_path: Path, upper: bool) -> None:
    async with run_desk(tmp_path / "l.sqlite3") as desk:
        desk.double.upper = upper
        told = [await desk.step()]
        told.append(await desk.step())
        desk.double.move(PAYOUT, "sending")
        told.append(await desk.step())
        desk.double.move(PAYOUT, "finished", hash="ff" * 32)
        told += [await desk.step(), await desk.step()]

        assert told == ["sending", "sending", "sending", "sent", "sent"]
        assert desk.double.calls.count("create") == 1
        (one,) = desk.double.find(PAYOUT)
        assert (one["amount"], one["address"], one["currency"]) == ("8.5", TRON, "usdttrc20")
        assert desk.rows[0]["tx_hash"] == "ff" * 32
        assert list_mails(desk) == ["first_payout"]


async def test_create__answer_lost__is_listed_matched_and_not_sent_again(tmp_path: Path) -> None:
    async with run_desk(tmp_path / "l.sqlite3") as desk:
        desk.double.lose = lambda what: what == "create"
        told = [await desk.step()]
        desk.double.lose = lambda what: what == "list"
        told.append(await desk.step())
        desk.double.lose = lambda _: False
        told += [await desk.step(), await desk.step(), await desk.step()]

        assert told == ["submitted", "submitted", "submitted", "sending", "sending"]
        assert len(desk.double.find(PAYOUT)) == 1


async def test_create__500_after_acceptance__is_paid_once(tmp_path: Path) -> None:
    async with run_desk(tmp_path / "l.sqlite3") as desk:
        accept = desk.double._create

        def fail(*arguments: Any) -> Any:
            answer = accept(*arguments)
            answer.status_code = 500
            return answer

        desk.double._create = fail  # type: ignore[method-assign, assignment]
        told = [await desk.step(), await desk.step(), await desk.step()]

        assert told == ["submitted", "submitted", "sending"]
        assert len(desk.double.find(PAYOUT)) == 1


async def test_create__never_arrived__is_sent_again_only_after_the_list_stays_empty(
    tmp_path: Path,
) -> None:
    async with run_desk(tmp_path / "l.sqlite3") as desk:
        desk.double.refuse["create"] = (500, "")
        told = [await desk.step()]
        del desk.double.refuse["create"]
        told.append(await desk.step(RESEND_AFTER_S - 1))
        assert desk.double.calls.count("create") == 1
        told += [await desk.step(), await desk.step()]

        assert told == ["submitted", "submitted", "pending", "sending"]
        assert len(desk.double.find(PAYOUT)) == 1


async def test_list__of_many_pages__is_read_to_its_end(tmp_path: Path) -> None:
    async with run_desk(tmp_path / "l.sqlite3") as desk:
        desk.double.lose = lambda what: what == "create"
        await desk.step()
        desk.double.lose = lambda _: False
        for number in range(250):
            other = {**desk.double.find(PAYOUT)[0], "id": str(6_000_000_000 + number)}
            desk.double.payouts[other["id"]] = {**other, "unique_external_id": f"o{number}"}

        assert [await desk.step(), await desk.step()] == ["submitted", "sending"]
        assert desk.double.calls.count("list") == 3


async def test_verify__wrong_code__is_followed_by_another_then_by_the_operator(
    tmp_path: Path,
) -> None:
    async with run_desk(tmp_path / "l.sqlite3") as desk:
        desk.double.refuse["verify"] = (400, "Incorrect 2fa code")
        told = [await desk.step() for _ in range(2)]
        del desk.double.refuse["verify"]
        told.append(await desk.step())
        assert told == ["submitted", "submitted", "sending"]

    async with run_desk(tmp_path / "m.sqlite3") as desk:
        desk.double.refuse["verify"] = (400, "Incorrect 2fa code")
        for _ in range(5):
            await desk.step()
        assert desk.statuses == "needs_operator"
        assert desk.double.calls.count("create") == 1


async def test_token__ended__is_renewed_and_the_payout_made_once(tmp_path: Path) -> None:
    async with run_desk(tmp_path / "l.sqlite3") as desk:
        desk.double.token_uses = 1
        told = [await desk.step(), await desk.step()]

        assert told == ["sending", "sending"]
        assert len(desk.double.find(PAYOUT)) == 1


@pytest.mark.parametrize("status", [401, 429, 503])
async def test_verify__they_are_busy__is_no_wrong_code(tmp_path: Path, status: int) -> None:
    async with run_desk(tmp_path / "l.sqlite3") as desk:
        desk.double.refuse["verify"] = (status, "Too many requests")
        told = [await desk.step() for _ in range(VERIFY_TRIES_MAX + 1)]
        desk.double.refuse.clear()
        told.append(await desk.step())

        assert told == ["submitted"] * (VERIFY_TRIES_MAX + 1) + ["sending"]
        assert desk.double.calls.count("create") == 1


async def test_verify__wrong_codes__are_counted_over_restarts(tmp_path: Path) -> None:
    async with run_desk(tmp_path / "l.sqlite3") as desk:
        desk.double.refuse["verify"] = (400, "Incorrect 2fa code")
        for _ in range(VERIFY_TRIES_MAX):
            desk.rail = NowPaymentsRail(desk.database, desk.double.build_client())
            await desk.step()

        assert desk.statuses == "needs_operator"


@pytest.mark.parametrize("lie", [{"address": OTHER_TRON}, {"amount": "85"}])
async def test_verify__a_batch_that_is_not_as_asked__is_not_confirmed(
    tmp_path: Path, lie: dict[str, Any]
) -> None:
    async with run_desk(tmp_path / "l.sqlite3", "s", "t") as desk:
        desk.double.made = lambda one: (
            {**one, **lie} if one["unique_external_id"] == PAYOUT else one
        )
        told = [await desk.step() for _ in range(3)]

        assert told == ["needs_operator needs_operator"] * 3
        assert "verify" not in desk.double.calls


async def test_create__an_answer_that_dribbles__is_lost_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nowpayments, "ANSWER_S", 0.05)
    assert nowpayments.ANSWER_S < RESEND_AFTER_S
    async with run_desk(tmp_path / "l.sqlite3") as desk:
        desk.double.dribbles = {"create"}
        told = [await desk.step()]
        desk.double.dribbles.clear()
        told += [await desk.step(), await desk.step()]

        assert told == ["submitted", "submitted", "sending"]
        assert len(desk.double.find(PAYOUT)) == 1


@pytest.mark.parametrize("word", ["auth", "create"])
async def test_create__away_or_limited__waits_and_is_paid(tmp_path: Path, word: str) -> None:
    async with run_desk(tmp_path / "l.sqlite3") as desk:
        desk.double.refuse[word] = (429, "Too many requests")
        told = [await desk.step()]
        desk.double.refuse.clear()
        told.append(await desk.step())

        assert told == ["pending", "sending"]


async def test_create__one_of_a_batch_not_whitelisted__the_others_are_paid(tmp_path: Path) -> None:
    async with run_desk(tmp_path / "l.sqlite3", "s", "t") as desk:
        with write(desk.engine) as connection:
            put_address(connection, "t", network="trc20", address=OTHER_TRON, now_s=START_S)
        desk.double.whitelist = {TRON}
        told = [await desk.step()]
        desk.double.whitelist.add(OTHER_TRON)
        told.append(await desk.step())

        assert told == ["sending address_pending_whitelist", "sending sending"]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "Insufficient balance"),
        (401, "Invalid credentials"),
        (403, "Invalid api key"),
        (403, "IP address 203.0.113.7 is not whitelisted"),
        (400, "payouts are limited today"),
    ],
)
async def test_create__refused_for_the_accounts_sake__all_wait_and_none_has_failed(
    tmp_path: Path, status: int, words: str
) -> None:
    async with run_desk(tmp_path / "l.sqlite3", "s", "t") as desk:
        desk.double.refuse["create"] = (status, words)
        told = [await desk.step(), await desk.step()]
        assert {row["reason"] for row in desk.rows} == {LATER}, "a supplier reads it"
        desk.double.refuse.clear()
        told.append(await desk.step())

        assert told == ["pending pending", "pending pending", "sending sending"]


async def test_create__refused_for_good__has_failed_and_its_supplier_is_told(
    tmp_path: Path,
) -> None:
    async with run_desk(tmp_path / "l.sqlite3") as desk:
        desk.double.refuse["create"] = (400, "Invalid payout_address: usdttrc20 T")

        assert [await desk.step(), await desk.step()] == ["failed", "failed"]
        assert desk.double.calls.count("create") == 1
        assert list_mails(desk) == ["payout_failed"]


async def test_refusal__that_quotes_what_was_sent__keeps_no_secret(tmp_path: Path) -> None:
    async with run_desk(tmp_path / "l.sqlite3") as desk:
        sent = f"{ACCOUNT.api_key} {ACCOUNT.email} {ACCOUNT.password}"
        desk.double.refuse["create"] = (400, f"Invalid payout_address for {sent}")
        await desk.step()

        (row,) = desk.rows
        assert row["status"] == "failed"
        assert not [secret for secret in sent.split() if secret in str(row)]


async def test_retry__of_what_failed__goes_to_the_address_that_counts_now(tmp_path: Path) -> None:
    async with run_desk(tmp_path / "l.sqlite3") as desk:
        desk.double.refuse["create"] = (400, "Invalid payout_address")
        await desk.step()
        desk.double.refuse.clear()
        with write(desk.engine) as connection:
            put_address(
                connection,
                network="trc20",
                address=OTHER_TRON,
                counts_from_s=int(desk.double.now_s) + 60,
                now_s=int(desk.double.now_s),
            )
        with pytest.raises(ArgumentInvalid, match="next address counts from 2027-01-1"):
            send_again(desk.engine, PAYOUT)
        with write(desk.engine) as connection:
            connection.execute(update(table_of(SupplyAddress)).values(counts_from_s=1))

        assert OTHER_TRON in send_again(desk.engine, PAYOUT)
        assert await desk.step() == "sending"
        (one,) = desk.double.payouts.values()
        assert one["address"] == desk.rows[0]["address"] == OTHER_TRON


async def test_retry__after_they_rejected_it__is_another_payout_to_them(tmp_path: Path) -> None:
    async with run_desk(tmp_path / "l.sqlite3") as desk:
        await desk.step()
        desk.double.move(PAYOUT, "rejected", error="expired")
        told = [await desk.step()]
        send_again(desk.engine, PAYOUT)
        # Its answer is lost: what they have of the first try must not be taken for it.
        desk.double.lose = lambda what: what == "create"
        told.append(await desk.step())
        desk.double.lose = lambda _: False
        told += [await desk.step(), await desk.step()]

        assert told == ["failed", "submitted", "submitted", "sending"]
        names = [one["unique_external_id"] for one in desk.double.payouts.values()]
        assert names == [PAYOUT, f"{PAYOUT}~1"]


async def test_needs_operator__marked_failed__can_be_sent_again_and_nothing_else_can(
    tmp_path: Path,
) -> None:
    async with run_desk(tmp_path / "l.sqlite3") as desk:
        for _ in range(2):
            with pytest.raises(ArgumentInvalid, match="cannot be marked as failed"):
                mark_failed(desk.engine, PAYOUT, "no")
            await desk.step()
        desk.double.move(PAYOUT, "failed")
        told = [await desk.step()]
        with pytest.raises(ArgumentInvalid, match="has not failed"):
            send_again(desk.engine, PAYOUT)
        mark_failed(desk.engine, PAYOUT, "cancelled at NOWPayments")
        told.append(desk.statuses)
        send_again(desk.engine, PAYOUT)
        told += [desk.statuses, await desk.step()]

        assert told == ["needs_operator", "failed", "pending", "sending"]
        assert list_mails(desk) == ["payout_failed"]


async def test_held__until_its_address_was_replaced__goes_to_the_new_one(tmp_path: Path) -> None:
    async with run_desk(tmp_path / "l.sqlite3") as desk:
        with write(desk.engine) as connection:
            set_kyb_status(connection, "s", "suspended", change_id="x", now_s=START_S)
        await desk.step()
        with write(desk.engine) as connection:
            put_address(connection, network="trc20", address=OTHER_TRON, now_s=START_S)
            set_kyb_status(connection, "s", "approved", change_id="y", now_s=START_S)
        await desk.step()

        (one,) = desk.double.payouts.values()
        assert one["address"] == desk.rows[0]["address"] == OTHER_TRON


def list_mails(desk: Desk) -> list[str]:
    table = table_of(OutboxMail)
    with read(desk.engine) as connection:
        return list(connection.execute(select(table.c.template)).scalars())


async def test_failed_then_finished__needs_the_operator_and_is_sent_after_all(
    tmp_path: Path,
) -> None:
    async with run_desk(tmp_path / "l.sqlite3") as desk:
        await desk.step()
        desk.double.move(PAYOUT, "failed", error="no gas")
        told = [await desk.step(), await desk.step()]
        desk.double.move(PAYOUT, "finished", hash="ff")
        told.append(await desk.step())
        # Old news change nothing more.
        desk.double.move(PAYOUT, "sending")
        told.append(await desk.step())

        assert told == ["needs_operator", "needs_operator", "sent", "sent"]
        assert len(desk.double.find(PAYOUT)) == 1


async def test_rejected__has_failed(tmp_path: Path) -> None:
    async with run_desk(tmp_path / "l.sqlite3") as desk:
        await desk.step()
        desk.double.move(PAYOUT, "rejected")

        assert await desk.step() == "failed"


@pytest.mark.parametrize(
    "lie",
    [
        {"address": OTHER_TRON},
        {"amount": 8.4},
        {"amount": "8.5000001"},
        {"currency": "usdtbsc"},
        {"hash": None},
    ],
)
async def test_finished__not_as_was_asked__needs_the_operator(
    tmp_path: Path, lie: dict[str, Any]
) -> None:
    async with run_desk(tmp_path / "l.sqlite3") as desk:
        await desk.step()
        desk.double.move(PAYOUT, "finished", **{"hash": "ff", **lie})

        assert await desk.step() == "needs_operator"


async def test_get__unknown_id_or_state__changes_nothing(tmp_path: Path) -> None:
    async with run_desk(tmp_path / "l.sqlite3") as desk:
        await desk.step()
        desk.double.move(PAYOUT, "meditating")
        told = [await desk.step()]
        desk.double.payouts.clear()
        told.append(await desk.step())

        assert told == ["sending", "sending"]
        assert desk.double.calls.count("create") == 1


async def test_suspended__before_it_was_asked_for__is_held(tmp_path: Path) -> None:
    async with run_desk(tmp_path / "l.sqlite3") as desk:
        with write(desk.engine) as connection:
            set_kyb_status(connection, "s", "suspended", change_id="x", now_s=START_S)

        assert await desk.step() == "pending"
        assert desk.double.calls == []


async def test_two_processes__at_once__ask_once(tmp_path: Path) -> None:
    async with run_desk(tmp_path / "l.sqlite3") as desk:
        await asyncio.gather(*(desk.rail.step() for _ in range(4)))

        assert len(desk.double.find(PAYOUT)) == 1


async def test_step__killed_at_every_line__each_day_is_paid_once(tmp_path: Path) -> None:
    """Statements of the ledger, requests to them before and after they were done: one more is
    reached in each life."""

    class Killed(Exception):
        pass

    async with run_desk(tmp_path / "l.sqlite3", "s", "t") as desk:
        left = 0

        def count(*_: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed

        event.listen(desk.engine, "before_cursor_execute", count)
        desk.double.before = desk.double.after = lambda _: count()
        deaths = 0
        for life in range(1, 400):
            desk.rail = NowPaymentsRail(desk.database, desk.double.build_client())
            left = life
            try:
                desk.double.now_s += 3_601
                await desk.rail.step()
            except Killed:
                deaths += 1
                continue
            if {one["status"] for one in desk.double.payouts.values()} == {"processing"}:
                break
        left = 0
        event.remove(desk.engine, "before_cursor_execute", count)
        for name in (PAYOUT, "2027-01-15-t"):
            (one,) = desk.double.find(name)
            desk.double.move(name, "finished", hash=one["id"])

        assert deaths > 10
        assert await desk.step() == "sent sent"
        assert len(desk.double.payouts) == 2
        assert list_mails(desk) == ["first_payout"] * 2


async def test_notice__of_a_payout__has_it_looked_at_at_once(tmp_path: Path) -> None:
    async with run_desk(tmp_path / "l.sqlite3") as desk:
        await desk.step()
        desk.double.move(PAYOUT, "finished", hash="ff")
        (one,) = desk.double.find(PAYOUT)
        assert await desk.step(1) == "sending"
        with write(desk.engine) as connection:
            assert not hasten_external(connection, "1", now_s=int(desk.double.now_s))
            assert hasten_external(connection, one["id"], now_s=int(desk.double.now_s))

        assert await desk.step(1) == "sent"
