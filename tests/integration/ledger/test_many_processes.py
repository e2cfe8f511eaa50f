"""Two of each process on one PostgreSQL, killed, cut off and with wrong clocks, over reorgs.

::

    buyers ─► 2 proxies ─► 2 markets ─► a seller
                  └──────── one ledger ────────┘ 2 indexers, 2 keepers ─► one chain

    kill -9 of each in turn │ pg_terminate_backend │ reorgs │ clocks 400 s ahead and 90 s behind
    a network to the database that falls silent, where the test may make one
    ├── no limit of a key is ever passed; everything is settled or free again; the audit is clean
    └── the schema is the next version's meanwhile: the same
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from sqlalchemy import Engine, func, make_url, select, text

from ledger.audit import find_violations
from ledger.database.engine import open_engine, read
from ledger.database.schema import migrate
from ledger.tables import ChildKey, Usage, table_of
from market.operator import OPERATOR_ACCOUNT, credit, issue_operator_key
from proxy.keys.tokens import KeyClaims, KeyRing
from scripts.audit import audit
from scripts.stack.ports import free_port
from tests.support.answers import MODEL
from tests.support.deploy import World
from tests.support.endpoint import FakeEndpoint
from tests.support.forking import Fork, ForkServer
from tests.support.keepers import Stage, make_stage_on, write_record
from tests.support.ledgers import Databases
from tests.support.market import KMS_LINE, PRICES, SECRET, make_settings, run_market
from tests.support.postgres import needs_postgres
from tests.support.proxy import CHAT, KEY_SECRET
from tests.support.released_ledgers import copy_next_migrations
from tests.support.silent_network import SilentNetwork
from tests.support.waiting import LIMIT_S, until, until_it

CONCURRENCY: Final = 2
PER_MINUTE: Final = 30
LIFETIME_USDC: Final = 400_000
BUYERS: Final = 4
AHEAD_S: Final = (0, 400, 0, -90)
"""How far the clocks of the processes are ahead, in turn: half of them are right."""
SILENCES_S: Final = (1, 4, 20)
"""How long the network is silent: connections live on, requests end, connections end (15 s)."""
OURS: Final = {"application_name": "test"}
"""Tells the test's own sessions from those that are cut."""
CUT_SOMEBODY = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND application_name <> 'test'"
    " ORDER BY random() LIMIT 2"
)

_child = table_of(ChildKey)
_usage = table_of(Usage)


def open_client(**settings: Any) -> httpx.AsyncClient:
    """Return a client without TLS: loading certificates takes longer than asking."""
    return httpx.AsyncClient(timeout=LIMIT_S, trust_env=False, verify=False, **settings)


class Process:
    """One of the processes, to be killed and started again, each time with the next clock."""

    def __init__(self, module: str, number: int, environment: dict[str, str], folder: Path) -> None:
        prefix = module.upper()
        self.module = module
        self.port = free_port() if module in ("proxy", "market") else None
        ours = {k: v for k, v in os.environ.items() if not k.startswith(f"{prefix}_")}
        values = environment if self.port is None else {**environment, "PORT": str(self.port)}
        self._environment = {**ours, **{f"{prefix}_{k}": v for k, v in values.items()}}
        self._log = folder / f"{module}-{number}.log"
        self._starts = number
        self._running: Fork | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, server: ForkServer) -> None:
        ahead_s = AHEAD_S[self._starts % len(AHEAD_S)]
        self._starts += 1
        self._running = server.start(
            self.module, ahead_s=ahead_s, environment=self._environment, log=self._log
        )

    async def kill(self) -> None:
        assert self._running is not None
        self._running.kill()
        running = self._running
        await until(lambda: not running.is_running, f"{self.module} is gone")

    async def serves(self) -> bool:
        """Tell whether it answers, ready or not; fails where it has ended by itself."""
        assert self._running is not None
        assert self._running.is_running, f"{self.module} ended: {self._log}"
        if self.port is None:
            return True
        path = "/api/current/healthz" if self.module == "proxy" else "/healthz"
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.close()
        except OSError:
            return False
        async with open_client(base_url=self.url) as client:
            try:
                return (await client.get(path)).status_code == 200
            except httpx.TransportError:
                return False


@pytest.fixture
def stage(world: World, postgres: Databases) -> Iterator[Stage]:
    url = postgres.open_unbound().url.update_query_dict(OURS)
    stage = make_stage_on(world, open_engine(url.render_as_string(hide_password=False)))
    yield stage
    stage.engine.dispose()


@contextmanager
def own_network(stage: Stage) -> Iterator[SilentNetwork]:
    """Yield a network of its own to the stage's database; skips where none can be made."""
    folder = Path(str(stage.engine.url.query["host"]))
    with SilentNetwork(folder / ".s.PGSQL.5432") as network:
        yield network


def build_processes(
    stage: Stage, folder: Path, operator_key: str, network: SilentNetwork | None
) -> list[Process]:
    """Return two of each, none started, which reach the database through ``network``."""
    url = stage.engine.url
    others = url.difference_update_query(OURS)
    if network is not None:
        others = make_url(network.url(str(url.database)))
    common = {
        "RPC_URL": stage.world.anvil.url,
        "LEDGER_URL": others.render_as_string(hide_password=False),
        "DEPLOYMENT_FILE": str(write_record(stage.world.deployment, folder)),
    }
    prices = folder / "prices.toml"
    serving = {**common, "PRICES_FILE": str(prices), "LEDGER_TIMEOUT_S": "20"}
    market = {
        **serving,
        "SECRET": SECRET,
        "KMS": f"file:{folder}/kms",
        "ALLOW_LOOPBACK": "true",
        "X402": "false",
        "REFRESH_INTERVAL_S": "0.2",
    }
    keeper = {
        **common,
        "PRIVATE_KEY": stage.world.accounts["keeper"].key.hex(),
        "ETHER_PRICE_USDC": "0",
        "POLL_INTERVAL_S": "1",
        "SETTLE_MAX_AGE_S": "1",
        "CONFIRMATIONS": "2",
        "RECEIPT_TIMEOUT_S": "2",
    }
    indexer = {**common, "POLL_INTERVAL_S": "0.5", "CONFIRMATIONS": "0"}
    markets = [Process("market", number, market, folder) for number in range(2)]
    proxies = [
        Process(
            "proxy",
            number,
            {
                **serving,
                "KEY_SECRET": KEY_SECRET,
                "UPSTREAM_URL": f"{markets[number].url}/v1",
                "UPSTREAM_KEY": operator_key,
                # The seller's host is this machine.
                "MINIMUM_GRADE": "D",
                "CATALOGUE_INTERVAL_S": "1",
                "UPSTREAM_TIMEOUT_S": "20",
                "SWEEP_INTERVAL_S": "0.5",
            },
            folder,
        )
        for number in range(2)
    ]
    indexers = [Process("indexer", number, indexer, folder) for number in range(2)]
    keepers = [Process("keeper", number, keeper, folder) for number in range(2)]
    return [*indexers, *keepers, *markets, *proxies]


async def list_model(stage: Stage, folder: Path, seller: FakeEndpoint) -> None:
    """List the seller's model at the market of the ledger."""
    (folder / "kms").write_text(KMS_LINE + "\n")
    (folder / "kms").chmod(0o600)
    (folder / "prices.toml").write_text(PRICES)
    async with run_market(make_settings(folder), stage.engine) as market:
        key = await market.get_key()
        await market.list_offer(key, seller.url)


async def start_all(processes: list[Process], server: ForkServer) -> None:
    """Start them all, and wait until they serve."""
    for process in processes:
        process.start(server)
    for process in processes:
        await until_it(process.serves, f"{process.module} serves")


class Buyers:
    """Clients of one child key, at both proxies, with a short pause between their requests."""

    def __init__(self, key: str, proxies: list[Process], *, pause_s: float) -> None:
        self._pause_s = pause_s
        self._key = key
        self._proxies = proxies
        self.answers: Counter[str] = Counter()
        self.stop = asyncio.Event()

    async def buy(self, seed: int) -> None:
        chance = random.Random(seed)
        headers = {"authorization": f"Bearer {self._key}"}
        async with open_client(headers=headers) as client:
            while not self.stop.is_set():
                url = chance.choice(self._proxies).url
                text_ = f"Say hello, {chance.random()}."
                body: dict[str, Any] = {
                    "model": MODEL,
                    "messages": [{"role": "user", "content": text_}],
                    "max_tokens": 50,
                    "stream": chance.random() < 0.4,
                }
                try:
                    answer = await client.post(f"{url}{CHAT}", json=body)
                except httpx.TransportError:
                    self.answers["gone"] += 1
                    await asyncio.sleep(self._pause_s)
                    continue
                is_ok = answer.status_code == 200
                self.answers["ok" if is_ok else str(answer.json()["error"]["code"])] += 1
                await asyncio.sleep(self._pause_s)


async def get_child(stage: Stage, token_id: int, proxy: Process) -> str:
    """Return a child key with limits, made by a root key of the position."""
    deployment = stage.world.deployment
    ring = KeyRing([KEY_SECRET.encode()], deployment.chain_id, deployment.position)
    root = ring.build_key(KeyClaims(token_id, 0, "00" * 8))
    limits = {
        "label": "of a test",
        "concurrency_max": CONCURRENCY,
        "requests_per_minute_max": PER_MINUTE,
        "lifetime_usdc_max": LIFETIME_USDC,
    }
    async with open_client(base_url=proxy.url) as client:
        headers = {"authorization": f"Bearer {root}"}
        answer = await client.post("/api/current/keys/children", json=limits, headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["apiKey"])


def check_limits(engine: Engine) -> None:
    """No limit of the child key is passed, at this moment or in any minute before it."""
    with read(engine) as connection:
        assert find_violations(connection) == []
        for row in connection.execute(select(_child)).mappings():
            assert row["open_requests"] <= CONCURRENCY
            assert row["used_usdc"] <= LIFETIME_USDC
        minute = _usage.c.reserved_at_s // 60
        rows = connection.execute(
            select(_usage.c.key_id, minute, func.count()).group_by(_usage.c.key_id, minute)
        ).all()
    for _, _, requests in rows:
        assert requests <= PER_MINUTE


def count_states(engine: Engine) -> Counter[str]:
    with read(engine) as connection:
        rows = connection.execute(select(_usage.c.state, func.count()).group_by(_usage.c.state))
        return Counter({str(state): int(count) for state, count in rows})


async def disturb(
    stage: Stage,
    victims: list[Process],
    server: ForkServer,
    network: SilentNetwork | None,
    *,
    rounds: int,
    seed: int,
) -> None:
    """Kill each process in turn, cut connections, take blocks back, have the network fall silent.

    The limits are checked each time.
    """
    chance = random.Random(seed)
    order = [process for _ in range(rounds) for process in chance.sample(victims, len(victims))]
    for place, process in enumerate(order):
        await process.kill()
        stage.world.anvil.mine(2)
        if place % 3 == 1:
            with stage.engine.connect() as connection:
                connection.execute(CUT_SOMEBODY)
        if place % 4 == 2:
            stage.world.anvil.reorg(chance.randint(1, 2))
        if place % 5 == 3 and network is not None:
            network.fall_silent()
            # Below and beyond the time after which a silent connection is given up.
            await asyncio.sleep(chance.choice(SILENCES_S))
            network.speak_again()
        process.start(server)
        await until_it(process.serves, f"{process.module} serves again")
        check_limits(stage.engine)


async def play(
    stage: Stage,
    folder: Path,
    *,
    rounds: int,
    seed: int,
    victims_step: int,
    pause_s: float,
    network: SilentNetwork | None = None,
    upgrade: Callable[[], object] = lambda: None,
) -> None:
    """Run all, ``upgrade``, kill each ``victims_step``-th, from the last on, ``rounds`` times."""
    token_id = stage.open_held()
    async with AsyncExitStack() as stack:
        seller = await stack.enter_async_context(FakeEndpoint())
        seller.delay_s = 0.05
        await list_model(stage, folder, seller)
        operator_key = issue_operator_key(stage.engine)
        credit(stage.engine, OPERATOR_ACCOUNT, 1_000_000_000, "of a test")
        processes = build_processes(stage, folder, operator_key, network)
        proxies = [process for process in processes if process.module == "proxy"]
        server = stack.enter_context(ForkServer())
        await start_all(processes, server)
        key = await get_child(stage, token_id, proxies[0])
        buyers = Buyers(key, proxies, pause_s=pause_s)
        buying = [asyncio.create_task(buyers.buy(number)) for number in range(BUYERS)]
        try:
            await until(lambda: buyers.answers["ok"] >= 3, f"something is sold: {buyers.answers}")
            upgrade()
            victims = processes[::-victims_step]
            await disturb(stage, victims, server, network, rounds=rounds, seed=seed)
        finally:
            buyers.stop.set()
        await asyncio.gather(*buying)

        def is_settled() -> bool:
            stage.world.anvil.mine()
            return set(count_states(stage.engine)) <= {"settled", "voided"}

        # What the killed ones had reserved is free again, long before its lease runs out.
        await until(is_settled, "all is settled or free", limit_s=LIMIT_S)
        check_limits(stage.engine)
        assert count_states(stage.engine)["settled"] >= 3
    assert audit(stage.engine, stage.world.anvil.web3, stage.world.deployment) == []


@needs_postgres
async def test_processes__one_of_each_is_killed__no_limit_is_passed_and_all_adds_up(
    stage: Stage, tmp_path: Path
) -> None:
    await play(stage, tmp_path, rounds=1, seed=11, victims_step=2, pause_s=0.2)


@needs_postgres
@pytest.mark.slow
async def test_processes__killed_for_minutes__no_limit_is_passed_and_all_adds_up(
    stage: Stage, tmp_path: Path
) -> None:
    with own_network(stage) as network:
        await play(
            stage, tmp_path, rounds=12, seed=12, victims_step=1, pause_s=0.02, network=network
        )


@needs_postgres
@pytest.mark.slow
async def test_processes__network_falls_silent__no_limit_is_passed_and_all_adds_up(
    stage: Stage, tmp_path: Path
) -> None:
    with own_network(stage) as network:
        await play(stage, tmp_path, rounds=1, seed=14, victims_step=2, pause_s=0.2, network=network)


@needs_postgres
@pytest.mark.slow
async def test_processes__next_versions_schema_while_they_serve__each_goes_on_and_starts_on_it(
    stage: Stage, tmp_path: Path
) -> None:
    newer = copy_next_migrations(tmp_path)

    await play(
        stage,
        tmp_path,
        rounds=1,
        seed=13,
        victims_step=1,
        pause_s=0.1,
        upgrade=lambda: migrate(stage.engine, migrations=newer),
    )

    logs = sorted(tmp_path.glob("*-[01].log"))
    assert len(logs) == 8
    assert [path.name for path in logs if "schema_is_newer" not in path.read_text()] == []
