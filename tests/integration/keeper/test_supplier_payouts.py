"""What an accountant adds up of a supplier's CSV is what the chain has paid to its address.

::

    days sold, one of them below the minimum → carried into the next
    paid by the keeper on a real chain, one day after another, one left waiting
    CSV → the nets of what was sent = the balance of the address = the named transactions' transfers
"""

import csv
import io
import time
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from contracts.units import SECONDS_PER_DAY, utc_day
from ledger.database.engine import read, write
from ledger.suppliers.chain_payouts import follow_on_chain, submit_on_chain
from ledger.suppliers.settlement import settle_chunk
from market.records.supply_records import load_supplier_payouts
from market.suppliers.payout_lines import PAYOUT_COLUMNS, build_payout_line
from scripts.audit import audit
from tests.integration.keeper.test_payouts import finish, open_paying
from tests.support.deploy import World
from tests.support.keepers import Stage
from tests.support.ledgers import BOTH
from tests.support.supply import (
    ADDRESS,
    TERMS,
    put_address,
    put_buyer,
    put_supplier,
    put_supply_offer,
    sell,
)

TOKENS = (7_654_321, 100, 1_234_567, 3_333_333)
"""Sold on four days: those of the second are worth less than a payout's minimum."""

SUMMED = ("gross", "fee", "network_fee", "net")


@pytest.fixture(params=BOTH)
def stage(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> Iterator[Stage]:
    with open_paying(request.param, world, tmp_path) as stage:
        yield stage


def write_csv(stage: Stage) -> list[dict[str, str]]:
    """Return the supplier's CSV as an accountant reads it."""
    written = io.StringIO()
    writer = csv.DictWriter(written, PAYOUT_COLUMNS)
    writer.writeheader()
    with read(stage.engine) as connection:
        rows = load_supplier_payouts(connection, supplier_id="s", before=None, limit=100)
    for row in rows:
        writer.writerow(build_payout_line(row, legal_name="Ltd.", registration_number="1"))
    return list(csv.DictReader(io.StringIO(written.getvalue())))


def to_units(text: str) -> int:
    return int(Decimal(text) * 1_000_000)


def test_csv__of_days_that_were_paid__adds_up_to_what_the_chain_has(stage: Stage) -> None:
    now_s = int(time.time())
    first = utc_day(now_s) - len(TOKENS)
    with write(stage.engine) as connection:
        put_supplier(connection)
        put_buyer(connection)
        put_supply_offer(connection)
        put_address(connection)
        for day, tokens in enumerate(TOKENS, first):
            sell(connection, tokens, now_s=day * SECONDS_PER_DAY + 60)
    for day in range(first, first + len(TOKENS)):
        with write(stage.engine) as connection:
            settle_chunk(connection, day=day, terms=TERMS, now_s=now_s, limit=100)
            if day < first + len(TOKENS) - 1:
                submit_on_chain(connection, now_s=now_s, limit=100)
        finish(stage, rounds=3)
        with write(stage.engine) as connection:
            follow_on_chain(connection, make_id=lambda: "mail", now_s=now_s)

    lines = write_csv(stage)
    assert Counter(line["status"] for line in lines) == {"sent": 2, "carried": 1, "pending": 1}
    # What is carried over is in no net but that of the line which pays it.
    sums = {name: sum(to_units(line[name]) for line in lines) for name in SUMMED}
    assert sums["gross"] - sums["fee"] - sums["network_fee"] == sums["net"]
    assert [to_units(line["net"]) for line in lines if line["status"] == "carried"] == [0]
    sent = [line for line in lines if line["status"] == "sent"]
    assert sum(to_units(line["net"]) for line in sent) == stage.received(ADDRESS)[0] > 0
    transfers = Counter[str]()
    for log in stage.world.contracts.usdc.events.Transfer.get_logs(from_block=0):
        if log.args.receiver == ADDRESS:
            transfers[log.transactionHash.to_0x_hex()] += log.args.value
    told = Counter[str]()
    for line in sent:
        assert (line["rail"], line["asset"], line["address"]) == ("chain", "USDC", ADDRESS)
        told[line["tx_hash"]] += to_units(line["net"])
    assert told == transfers
    assert audit(stage.engine, stage.world.anvil.web3, stage.world.deployment) == []
