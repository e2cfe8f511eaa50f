"""Nobody ever spends more than is held: several proxy processes on one ledger, under fire.

Every request has a key of its own, so that what its client saw can be compared with what the
ledger says, request by request. Meanwhile processes are killed with ``kill -9`` and started
again, upstream fails and stalls, clients leave, and the mirror moves as an indexer would move it:
a hold shrinks and grows again, a key epoch is bumped, a hold lapses at UTC midnight and the next
day's comes.

::

    afterwards
    ├── L1, L3, L4 hold; no write ever raised drawn above the hold (a trigger in the database looks)
    ├── answered        posted, at the cost that the answer says
    ├── refused         not posted
    ├── broken off      posted or given back; posted only what upstream was asked for
    ├── revoked before  never admitted
    └── sum of what is posted = sum of what was answered + each that was lost on the way
"""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from sqlalchemy import Engine, select, text

from contracts.units import utc_day
from ledger.audit import find_violations
from ledger.chain.positions import PositionState
from ledger.database.engine import is_postgres, read, write
from ledger.spending.leases import sweep_leases
from ledger.tables import Position, Usage, table_of
from scripts.stack.ports import free_port
from tests.support.endpoint import FakeEndpoint
from tests.support.ledgers import DEPLOYMENT, Databases, make_state, put_cursor, put_positions
from tests.support.proxy import CHAT, KEY_SECRET, make_body, make_key, now_s, write_prices
from tests.support.waiting import LIMIT_S, until

ROOT: Final = Path(__file__).resolve().parents[3]
PROCESSES: Final = 3
CLIENTS: Final = 24
STOP_TIMEOUT_S: Final = 30
HOLD_USDC: Final = 4_000
"""Some tens of requests at their ceiling, so that most of the time it is the limit."""
STEADY, SHRINKING, REVOKED, LAPSING = range(4)
"""What happens to each of the four positions."""

BEHAVIOURS: Final = (
    "normal",
    "normal",
    "normal",
    "huge_usage",
    "no_usage",
    "status_500",
    "status_429",
    "bad_json",
    "disconnect",
    "stream_dies",
    "stream_no_usage",
)

# Written by the database itself: no code of ours decides what is seen.
SQLITE_WATCH: Final = (
    "CREATE TABLE overspent (token_id INTEGER, drawn_usdc INTEGER, hold_usdc INTEGER)",
    "CREATE TRIGGER watch AFTER UPDATE OF drawn_usdc ON position"
    " WHEN NEW.drawn_usdc > OLD.drawn_usdc"
    " AND NEW.drawn_usdc > NEW.hold_usdc - NEW.hold_unconfirmed_usdc"
    " BEGIN INSERT INTO overspent VALUES (NEW.token_id, NEW.drawn_usdc, NEW.hold_usdc); END",
)
POSTGRES_WATCH: Final = (
    "CREATE TABLE overspent (token_id BIGINT, drawn_usdc BIGINT, hold_usdc BIGINT)",
    "CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    " INSERT INTO overspent VALUES (NEW.token_id, NEW.drawn_usdc, NEW.hold_usdc);"
    " RETURN NULL; END $$",
    "CREATE TRIGGER watch AFTER UPDATE ON position FOR EACH ROW"
    " WHEN (NEW.drawn_usdc > OLD.drawn_usdc"
    " AND NEW.drawn_usdc > NEW.hold_usdc - NEW.hold_unconfirmed_usdc)"
    " EXECUTE FUNCTION watch()",
)


@dataclass(slots=True)
class Attempt:
    """One request: what was asked, and what its client saw of the answer."""

    key_id: str
    token_id: int
    key_epoch: int
    began_s: float
    status: int | None = None
    """None where no answer began."""
    cost_usdc: int | None = None
    """What the answer says that it cost; None where it was broken off before that."""
    left: bool = False
    """The client closed the connection on purpose."""


@dataclass(slots=True)
class Server:
    """One proxy process; killed and started again on the same port."""

    port: int
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "proxy"],
            cwd=ROOT,
            env={**self.environment, "PROXY_PORT": str(self.port)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    async def wait_until_ready(self) -> None:
        deadline_s = time.monotonic() + LIMIT_S
        async with httpx.AsyncClient() as client:
            while True:
                with suppress(httpx.TransportError):
                    url = f"http://127.0.0.1:{self.port}/api/current/healthz"
                    if (await client.get(url)).status_code == 200:
                        return
                assert self.process is not None and self.process.poll() is None
                assert time.monotonic() < deadline_s
                await asyncio.sleep(0.05)

    async def stop(self) -> int:
        """Stop it as an operator would. No client is left, so nothing is waited for."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, STOP_TIMEOUT_S)


class Campaign:
    """Clients, a killer, a moody provider and a moving mirror, around some processes."""

    def __init__(self, engine: Engine, provider: FakeEndpoint, servers: list[Server]) -> None:
        self.engine = engine
        self.provider = provider
        self.servers = servers
        self.attempts: list[Attempt] = []
        self.kills = 0
        self.revoked_s = float("inf")
        self.states: dict[int, PositionState] = {}
        self._random = random.Random(20_260_101)
        self._over = asyncio.Event()
        self._block = 10
        self._one_indexer = threading.Lock()

    async def run(self, *, seconds: float) -> None:
        """Let everything happen at once for so long, and until all of it has happened."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._be_client())
            for work in (self._kill_processes, self._change_provider, self._move_mirror):
                group.create_task(work())
            group.create_task(self._move_chain(seconds))
            await asyncio.sleep(seconds)
            await until(self.was_fought, "every kind of accident")
            self._over.set()

    def was_fought(self) -> bool:
        """Tell whether it was a fight, and there was something to win."""
        told = [attempt for attempt in self.attempts if attempt.cost_usdc is not None]
        return (
            any(attempt.status == 200 and attempt.cost_usdc for attempt in told)
            and {401, 502, 503} <= {attempt.status for attempt in told}
            and any(attempt.left for attempt in self.attempts)
            and self.kills > 0
        )

    # ------------------------------------------------------------------------------- the clients

    async def _be_client(self) -> None:
        limits = httpx.Limits(max_keepalive_connections=4)
        async with httpx.AsyncClient(timeout=10, limits=limits) as client:
            while not self._over.is_set():
                await self._ask(client)

    async def _ask(self, client: httpx.AsyncClient) -> None:
        number = len(self.attempts)
        token_id = self._random.randrange(4)
        key_epoch = self.states[token_id].key_epoch
        if token_id == REVOKED and self._random.random() < 0.5:
            key_epoch = 0  # the old key goes on being tried
        attempt = Attempt(f"{number:016x}", token_id, key_epoch, time.monotonic())
        self.attempts.append(attempt)
        headers = {"authorization": f"Bearer {make_key(token_id, key_epoch, attempt.key_id)}"}
        body = make_body(
            stream=self._random.random() < 0.4,
            max_tokens=self._random.choice((10, 100, 500)),
            fit=self._random.random() < 0.1,
            user=attempt.key_id,
        )
        url = f"http://127.0.0.1:{self._random.choice(self.servers).port}{CHAT}"
        patience_s = self._random.choice((0.002, 0.01, 0.05)) if number % 10 == 0 else 10.0
        try:
            async with asyncio.timeout(patience_s):
                async with client.stream("POST", url, json=body, headers=headers) as response:
                    attempt.status = response.status_code
                    attempt.cost_usdc = read_cost(response, await response.aread())
        except TimeoutError:
            attempt.left = True
        except httpx.HTTPError:
            await asyncio.sleep(0.02)  # the process is dead, or about to be back

    # ------------------------------------------------------------------------------ what goes wrong

    async def _kill_processes(self) -> None:
        while not await self._is_over_within(1.5 + self._random.random()):
            server = self._random.choice(self.servers)
            server.kill()
            self.kills += 1
            server.start()
            await server.wait_until_ready()

    async def _change_provider(self) -> None:
        while not await self._is_over_within(0.05):
            self.provider.behaviour = self._random.choice(BEHAVIOURS)
            # Once in a while longer than a proxy waits for it.
            is_stalled = self._random.random() < 0.03
            self.provider.delay_s = 1.5 if is_stalled else self._random.choice((0, 0, 0.005, 0.05))
            self.provider.piece_delay_s = self._random.choice((0.0, 0.0, 0.002))
        self.provider.behaviour, self.provider.delay_s = "normal", 0.0

    async def _is_over_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)
        return self._over.is_set()

    # ------------------------------------------------------------------------------------ the chain

    async def _move_mirror(self) -> None:
        while not await self._is_over_within(0.2):
            await asyncio.to_thread(self.mirror)

    async def _move_chain(self, seconds: float) -> None:
        """What the chain does to the positions, each at its time."""
        pause_s = seconds / 8
        while not await self._is_over_within(pause_s):
            shrinking, revoked = self.states[SHRINKING], self.states[REVOKED]
            lapsing = self.states[LAPSING]
            await self._change(replace(shrinking, hold_usdc=HOLD_USDC // 20))
            # Its hold lapses with the day, and there is none at first on the new one.
            await self._change(replace(lapsing, hold_usdc=0, hold_expires_at_s=0))
            if revoked.key_epoch == 0:
                await self._change(replace(revoked, key_epoch=1))
                self.revoked_s = time.monotonic()
            if await self._is_over_within(pause_s):
                return
            await self._change(replace(shrinking, hold_usdc=shrinking.hold_usdc + HOLD_USDC))
            await self._change(begin_day(lapsing))
            more = self.states[STEADY].hold_usdc + HOLD_USDC
            await self._change(replace(self.states[STEADY], hold_usdc=more))
            more = self.states[REVOKED].hold_usdc + HOLD_USDC
            await self._change(replace(self.states[REVOKED], hold_usdc=more))

    async def _change(self, state: PositionState) -> None:
        await asyncio.to_thread(self.mirror, state)

    def mirror(self, *states: PositionState) -> None:
        """Write what an indexer would of a new block, in one transaction."""
        with self._one_indexer, write(self.engine) as connection:
            self._block += 1
            put_positions(connection, *states)
            put_cursor(connection, number=self._block, now_s=now_s())
        self.states |= {state.token_id: state for state in states}


def begin_day(state: PositionState) -> PositionState:
    """Return a position after the first hold of the next UTC day, larger by one more hold."""
    return replace(
        state,
        day=state.day + 1,
        day_base_usdc=state.credited_usdc - state.spent_usdc,
        day_spent_usdc=0,
        hold_usdc=state.hold_usdc + HOLD_USDC,
        hold_expires_at_s=now_s() + 7_200,
    )


def read_cost(response: httpx.Response, body: bytes) -> int | None:
    """Return what an answer says that it cost; None for a stream that was cut off before."""
    if "text/event-stream" not in response.headers["content-type"]:
        return int(response.headers["x-current-cost-usdc"])
    for line in reversed(body.decode().splitlines()):
        if line.startswith("data: {"):
            event = json.loads(line.removeprefix("data: "))
            if "error" in event:
                # Without a figure nothing was delivered, and nothing is charged.
                return int(event["error"].get("cost_usdc", 0))
            if "cost" in (event.get("usage") or {}):
                return int(event["usage"]["cost"])
    return None


@asynccontextmanager
async def running(engine: Engine, folder: Path) -> AsyncIterator[Campaign]:
    """Start a provider and some processes over a filled ledger; stop them at the end."""
    facts: dict[str, Any] = asdict(DEPLOYMENT)
    ahead = {name: facts.pop(name) for name in ("chain_id", "block_number", "block_hash")}
    record = folder / "deployment.json"
    record.write_text(json.dumps({**ahead, "contracts": facts}))
    with engine.begin() as connection:
        for statement in POSTGRES_WATCH if is_postgres(engine) else SQLITE_WATCH:
            connection.exec_driver_sql(statement)
    async with FakeEndpoint() as provider:
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PROXY_")},
            "PROXY_RPC_URL": "http://127.0.0.1:9",
            "PROXY_LEDGER_URL": engine.url.render_as_string(hide_password=False),
            "PROXY_DEPLOYMENT_FILE": str(record),
            "PROXY_KEY_SECRET": KEY_SECRET,
            "PROXY_UPSTREAM_URL": provider.url,
            "PROXY_UPSTREAM_TIMEOUT_S": "1",
            "PROXY_PRICES_FILE": str(write_prices(folder)),
            "PROXY_STREAM_DRAIN_S": "1",
            "PROXY_LOG_LEVEL": "error",
            "PROXY_DRAIN_TIMEOUT_S": str(2 * STOP_TIMEOUT_S),
        }
        servers = [Server(free_port(), environment) for _ in range(PROCESSES)]
        campaign = Campaign(engine, provider, servers)
        started = [make_state(n, now_s=now_s(), hold_usdc=HOLD_USDC) for n in range(4)]
        campaign.mirror(*[replace(state, day=utc_day(now_s())) for state in started])
        for server in servers:
            server.start()
        try:
            for server in servers:
                await server.wait_until_ready()
            yield campaign
        finally:
            for server in servers:
                server.kill()


def load_usage(engine: Engine) -> dict[str, dict[str, Any]]:
    """Return the usage rows by their key id, after checking that no key has two."""
    usage = table_of(Usage)
    with read(engine) as connection:
        rows = [dict(row) for row in connection.execute(select(usage)).mappings()]
    by_key = {row["key_id"]: row for row in rows}
    assert len(by_key) == len(rows)
    return by_key


def explain(campaign: Campaign, usage: dict[str, dict[str, Any]]) -> tuple[int, int]:
    """Hold every request against the ledger; return (answered, lost on the way), in 1e-6 USDC."""
    served = {body["user"] for body in campaign.provider.requests}
    answered_usdc = lost_usdc = 0
    for attempt in campaign.attempts:
        row = usage.get(attempt.key_id)
        cost_usdc = (row or {}).get("cost_usdc") or 0
        said = f"{attempt} {row}"
        if cost_usdc:
            assert attempt.key_id in served, said
        if attempt.cost_usdc is not None:
            # Told what it cost, which for a refusal is nothing.
            assert cost_usdc == attempt.cost_usdc, said
            if attempt.cost_usdc:
                assert row is not None and row["state"] == "posted", said
            answered_usdc += cost_usdc
        else:
            # Nobody was told: the client left, or the process died.
            assert attempt.left or attempt.status in (None, 200), said
            lost_usdc += cost_usdc
        if attempt.key_epoch == 0 and attempt.token_id == REVOKED:
            assert attempt.began_s < campaign.revoked_s or row is None, said
    return answered_usdc, lost_usdc


async def fight(databases: Databases, folder: Path, *, seconds: float) -> Campaign:
    """Run a campaign and check everything that must hold after it."""
    engine = databases.open_ledger()
    async with running(engine, folder) as campaign:
        await campaign.run(seconds=seconds)
        for server in campaign.servers:
            assert await server.stop() == 0
    with write(engine) as connection:
        # What killed processes had reserved: their leases run out.
        while sweep_leases(connection, now_s=now_s() + 86_400):
            pass
    usage = load_usage(engine)
    with read(engine) as connection:
        assert find_violations(connection) == []
        assert connection.execute(text("SELECT * FROM overspent")).all() == []
        position = table_of(Position)
        drawn = dict(connection.execute(select(position.c.token_id, position.c.drawn_usdc)).all())
    posted_usdc = sum(row["cost_usdc"] for row in usage.values() if row["state"] == "posted")
    assert {row["state"] for row in usage.values()} == {"posted", "voided"}
    answered_usdc, lost_usdc = explain(campaign, usage)
    assert posted_usdc == answered_usdc + lost_usdc == sum(drawn.values())
    return campaign


@pytest.mark.slow
async def test_campaign__everything_at_once__never_overspent(
    databases: Databases, tmp_path: Path
) -> None:
    campaign = await fight(databases, tmp_path, seconds=4)

    assert campaign.was_fought()


@pytest.mark.slow
async def test_campaign__for_long__never_overspent(databases: Databases, tmp_path: Path) -> None:
    campaign = await fight(databases, tmp_path, seconds=120)

    assert len(campaign.attempts) > 2_000
    assert campaign.kills > 10
