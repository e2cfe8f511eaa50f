"""What the operator's page reads: for operators only, and true.

::

    nobody, a supplier, a reviewer: refused; an operator: figures, alarms, an audit
    a node that answers: its head, and the ether of the keeper's keys; one that does not: null
    a row that breaks an invariant: the audit names it
    a paid payout: its seller sees the transaction
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select
from web3.types import RPCEndpoint

from ledger.database.engine import read, write
from ledger.tables import Intent, MarketSale, PayoutBatch, PayoutItem, table_of
from market.suppliers.reviewing import grant
from tests.support.anvil import Anvil
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import make_ledger
from tests.support.mailbox import Mailbox
from tests.support.market import RunningMarket, bearer, make_settings, run_market
from tests.support.suppliers import Browser, join

OVERVIEW = "/v1/operator/overview"
AUDIT = "/v1/operator/audit"


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    async with Mailbox() as mailbox:
        yield mailbox


@pytest.fixture
async def market(tmp_path: Path, mailbox: Mailbox) -> AsyncIterator[RunningMarket]:
    engine = make_ledger(tmp_path / "ledger.sqlite3")
    settings = make_settings(tmp_path, smtp_url=mailbox.url, mail_interval_s=0.02)
    async with run_market(settings, engine) as running:
        yield running
    engine.dispose()


async def sign_in_as(market: RunningMarket, mailbox: Mailbox, role: str) -> Browser:
    browser = await join(market, mailbox, email=f"{role}@market.example")
    with write(market.engine) as connection:
        grant(connection, email=browser.email, role=role, actor="command line", now_s=1)
    return browser


async def test_views__by_role__are_the_operators_alone(
    market: RunningMarket, mailbox: Mailbox
) -> None:
    assert (await market.client.get(OVERVIEW)).status_code == 401
    for role in ("supplier", "reviewer"):
        browser = await sign_in_as(market, mailbox, role)
        for path in (OVERVIEW, AUDIT):
            refused = await browser.get(path)
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "role_missing")

    operator = await sign_in_as(market, mailbox, "operator")
    seen = (await operator.get(OVERVIEW)).json()
    # No indexer ever ran over this ledger.
    assert seen["alarms"] == [{"name": "mirror_stale", "detail": "never"}]
    assert (seen["chain"]["mirrored_block"], seen["positions"]["count"]) == (None, 0)
    assert (await operator.get(AUDIT)).json()["count"] == 0


async def test_overview__the_node_answers__head_and_the_keepers_ether(
    tmp_path: Path, mailbox: Mailbox
) -> None:
    engine = make_ledger(tmp_path / "with-node.sqlite3")
    senders = ["0x" + digit * 40 for digit in "ab"]
    with write(engine) as connection:
        for number, sender in enumerate([*senders, senders[0], None]):
            connection.execute(
                table_of(Intent).insert(),
                {"intent_id": str(number), "kind": "settle", "state": "confirmed", "reason": ""}
                | {"payload": "{}", "sender": sender, "nonce": number}
                | {"created_at_s": 1, "updated_at_s": 1},
            )
    with Anvil() as anvil:
        balance = [senders[1], hex(3 * 10**18)]
        anvil.web3.provider.make_request(RPCEndpoint("anvil_setBalance"), balance)
        settings = make_settings(
            tmp_path, smtp_url=mailbox.url, mail_interval_s=0.02, rpc_url=anvil.url
        )
        async with run_market(settings, engine) as market:
            operator = await sign_in_as(market, mailbox, "operator")
            seen = (await operator.get(OVERVIEW)).json()
            assert seen["chain"]["head_block"] == anvil.reader.fetch_head().number
            assert seen["keeper"]["accounts"] == [
                {"address": senders[0], "ether_wei": "0"},
                {"address": senders[1], "ether_wei": str(3 * 10**18)},
            ]

            anvil.stop()

            seen = (await operator.get(OVERVIEW)).json()
            assert seen["chain"]["head_block"] is None
            assert [one["ether_wei"] for one in seen["keeper"]["accounts"]] == [None, None]
    engine.dispose()


async def test_views__a_sale_that_is_paid__is_counted_and_its_seller_sees_the_transaction(
    market: RunningMarket, mailbox: Mailbox
) -> None:
    operator = await sign_in_as(market, mailbox, "operator")
    seller = await market.get_key()
    async with FakeEndpoint() as endpoint:
        await market.list_offer(seller, endpoint.url)
        buyer = await market.get_buyer_key()
        assert (await market.chat(buyer)).status_code == 200
    (sale,) = await market.settled_sales()
    tx_hash, amount = "0x" + "5a" * 32, int(sale["earning_usdc"])
    with write(market.engine) as connection:
        connection.execute(
            table_of(PayoutBatch).insert(),
            {"batch_id": "b", "state": "paid", "total_usdc": amount, "planned_at_s": 1}
            | {"paid_block": 7, "paid_tx_hash": tx_hash},
        )
        connection.execute(
            table_of(PayoutItem).insert(),
            {"batch_id": "b", "payout_id": "p", "payee": "0x1", "amount_usdc": amount}
            | {"state": "paid"},
        )
        connection.execute(table_of(MarketSale).update().values(payout_id="p"))

    page = (await market.client.get("/v1/seller/earnings", headers=bearer(seller))).json()
    (earning,) = page["earnings"]
    assert (earning["payout_state"], earning["payout_tx_hash"]) == ("paid", tx_hash)
    table = await market.client.get("/v1/seller/earnings.csv", headers=bearer(seller))
    assert tx_hash in table.text
    seen = (await operator.get(OVERVIEW)).json()
    assert seen["market"]["day_sales"] == {"posted": 1}
    assert seen["market"]["day_earning_usdc"] == amount
    # The payout is in no list of payouts: the audit says so.
    audit = (await operator.get(AUDIT)).json()
    assert audit["count"] == len(audit["violations"]) > 0
    with read(market.engine) as connection:
        assert connection.execute(select(table_of(MarketSale).c.payout_id)).scalar_one() == "p"
