"""An offer is suspended by what it served as it is now, not as it once was. On both databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from ledger.database.engine import read, write
from ledger.selling.accounts import save_seller
from ledger.selling.offers import change_offer, save_offer, suspend_offer
from ledger.selling.sealed_keys import SealedKey
from ledger.tables import MarketOffer, table_of
from tests.support.ledgers import BOTH, NOW_S, Databases
from tests.support.offers import SELLER, make_offer


@pytest.fixture(params=BOTH)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    with Databases(request.param, tmp_path) as databases:
        yield databases.open_ledger()


def suspend(engine: Engine, *, version: int) -> bool:
    with write(engine) as connection:
        return suspend_offer(
            connection, offer_id="o", version=version, evidence=f"of {version}", now_s=NOW_S
        )


def test_suspend_offer__changed_since_it_served__is_not_suspended(engine: Engine) -> None:
    with write(engine) as connection:
        save_seller(connection, address=SELLER, now_s=NOW_S)
        save_offer(connection, make_offer(), SealedKey(b"c", b"w", "kms"), now_s=NOW_S)
        change_offer(
            connection,
            offer_id="o",
            seller=SELLER,
            version=0,
            changes={"upstream_model": "m-right"},
            sealed=None,
            now_s=NOW_S,
        )

    told = [suspend(engine, version=version) for version in (0, 1, 1)]

    assert told == [False, True, False]
    table = table_of(MarketOffer)
    with read(engine) as connection:
        row = connection.execute(select(table.c.suspended_for, table.c.version)).one()
    assert tuple(row) == ("of 1", 2)
