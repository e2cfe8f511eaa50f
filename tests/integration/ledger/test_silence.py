"""A database that vanishes in silence: packets are dropped, and no connection is closed.

::

    asked when the network falls silent ── fails by our own time, not by the minutes of TCP
    asked again while it is silent ─────── fails by the time that a connection may take
    the network speaks again ───────────── answers, by new connections
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url, text

from ledger.database.engine import PostgresLimits, open_engine, read
from ledger.errors import LedgerUnavailable
from tests.support.ledgers import Databases
from tests.support.silent_network import SilentNetwork
from tests.support.waiting import LIMIT_S, wait_until

LIMITS = PostgresLimits(keepalive_s=1)


@pytest.fixture
def network(postgres: Databases) -> Iterator[tuple[SilentNetwork, Engine]]:
    url = make_url(postgres.create())
    with SilentNetwork(Path(str(url.query["host"]), ".s.PGSQL.5432")) as network:
        engine = open_engine(network.url(str(url.database)), limits=LIMITS)
        yield network, engine
        engine.dispose()


def ask(engine: Engine) -> int:
    with read(engine) as connection:
        return int(connection.execute(text("SELECT 1")).scalar_one())


def test_network__falls_silent__whoever_asks_is_told_in_seconds(
    network: tuple[SilentNetwork, Engine],
) -> None:
    cable, engine = network
    assert ask(engine) == 1

    cable.fall_silent()
    for _ in ("on a connection that is open", "on a new one"):
        began_s = time.monotonic()
        with pytest.raises(LedgerUnavailable):
            ask(engine)
        # TCP by itself would go on for a quarter of an hour.
        assert time.monotonic() - began_s < LIMIT_S

    cable.speak_again()

    def answers() -> bool:
        try:
            return ask(engine) == 1
        except LedgerUnavailable:
            return False

    wait_until(answers, "the database answers again")
