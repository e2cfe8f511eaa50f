"""Everything at once, by the seed: crashes, dropped and stuck transactions, reorgs, lies, pauses,
a vault that burns all gas or reverts, others who submit what a buyer signed, changes of the key.

Whatever happens, once it is over every request is settled exactly once, the owner has paid for each
of them once, every seller is paid or credited once, every buyer's payment came once and is credit
once, and the audit finds nothing. Reorgs here are shallower than the keeper's patience.
"""

import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from contracts.authorizations import Authorization
from contracts.errors import Retryable
from contracts.node_errors import NodeRefused
from contracts.transport import HttpTransport
from ledger.database.engine import read
from ledger.errors import ReserveRefused
from ledger.spending.strays import load_overcharges
from scripts.audit import audit
from tests.integration.keeper.test_jobs import open_hostile
from tests.support.authorizations import (
    PAYER,
    authorize,
    load,
    load_credit_rows,
    record,
    submit,
)
from tests.support.deploy import USDC, World
from tests.support.keepers import Crash, Stage, crash_at, make_stage_on
from tests.support.ledgers import POSTGRES, SQLITE, Databases
from tests.support.liars import LIES, Liar
from tests.support.postgres import needs_postgres

GWEI = 10**9
DEPTH_MAX = 6
KEYS = ("keeper", "outsider")
PAYEES = ("0x" + "aa" * 20, "0x" + "bb" * 20)
REFUSED_PAYEE = "0x" + "cc" * 20
MISBEHAVIOURS = {
    "honest": 0,
    "reverts": 1 << 12,
    "burns gas": 1 << 14,
    "burns it in views": 1 << 15,
}
PAYER_USDC = 10 * USDC
STEPS = (
    *("planned", "simulated", "stored", "sent", "included", "mined"),
    *("replaced", "taken_back", "planned_again", "filled"),
)


class Campaign:
    """One stage, and what luck does to it."""

    def __init__(self, stage: Stage, liar: Liar, seed: int) -> None:
        self.rotations = seed % 3
        self.automine = True
        self.stage = stage
        self.liar = liar
        self.luck = random.Random(seed)
        self.anvil = stage.world.anvil
        self.position = stage.world.contracts.position
        refused = stage.world.anvil.web3.to_checksum_address(REFUSED_PAYEE)
        usdc = stage.world.contracts.usdc.functions
        stage.world.send("admin", usdc.blacklist(refused, True))
        stage.allow_paying()
        self.allow()
        self.token_id = stage.open_held()
        self.vault, _ = open_hostile(stage)
        stage.world.fund_usdc(PAYER.address, PAYER_USDC)
        self.anvil.mine(3)
        stage.sync()
        stage.tick()
        self.base = self.anvil.head().number
        self.costs: dict[str, int] = {}
        self.owed: dict[str, tuple[str, int]] = {}
        self.signed: dict[str, Authorization] = {}
        self.asked = 0
        self.raw_txs: list[str] = []
        self.actions = (
            *(self.spend,) * 5,
            *(self.work,) * 5,
            *(self.owe, self.sign) * 3,
            *(self.crash, self.tick, self.mine, self.sync, self.want) * 2,
            *(self.toggle_automine, self.drop, self.reorg, self.bring_back, self.spike),
            *(self.forbid, self.allow, self.allow, self.allow, self.pause, self.lie, self.release),
            *(self.earn, self.misbehave, self.submit),
            *(self.rotate,) * self.rotations,
        )

    def step(self) -> None:
        self.luck.choice(self.actions)()
        raw_txs = [intent.raw_tx for intent in self.stage.intents()]
        self.raw_txs += [raw for raw in raw_txs if raw is not None and raw not in self.raw_txs]

    def spend(self) -> None:
        self.asked += 1
        name, cost_usdc = f"request-{self.asked}", self.luck.randint(1, 100_000)
        with suppress(ReserveRefused):
            self.stage.spend(self.token_id, cost_usdc, request_id=name)
            self.costs[name] = cost_usdc

    def owe(self) -> None:
        payout_id = f"payout-{len(self.owed)}"
        payee = self.luck.choice([*PAYEES, REFUSED_PAYEE])
        self.owed[payout_id] = payee, self.luck.randint(1, 100_000)
        self.stage.owe((payout_id, *self.owed[payout_id]))

    def sign(self) -> None:
        """A buyer signs a payment, and the market writes it down."""
        signed = authorize(self.stage.world, self.luck.randint(1, 100_000), lives_s=100_000)
        self.signed[record(self.stage.engine, signed)] = signed

    def submit(self) -> None:
        """Somebody else carries out what a buyer has signed, if it still can be."""
        if self.automine and self.signed:
            with suppress(AssertionError):
                submit(self.stage.world, self.luck.choice([*self.signed.values()]))

    def earn(self) -> None:
        """All deposits earn, and are due for a harvest."""
        if self.automine:
            self.stage.world.earn(self.luck.randint(1, 2 * USDC))
            self.anvil.warp(1_800)

    def misbehave(self) -> None:
        if self.automine:
            kinds = self.luck.choice([*MISBEHAVIOURS.values()])
            self.stage.world.send("admin", self.vault.functions.misbehave(kinds))

    def rotate(self) -> None:
        """The operator changes the key, whatever the last one has sent."""
        now = self.stage.settings.get("PRIVATE_KEY")
        keys = [self.stage.world.accounts[role].key.hex() for role in KEYS]
        self.stage.settings["PRIVATE_KEY"] = keys[0] if now == keys[1] else keys[1]

    def work(self) -> None:
        """A round that sees the chain as it is, with a block after it."""
        self.sync()
        self.tick()
        self.anvil.mine()
        self.sync()

    def tick(self) -> None:
        with suppress(Retryable):
            self.stage.keeper().tick()

    def crash(self) -> None:
        with suppress(Retryable, Crash):
            self.stage.keeper(crash_at(self.luck.choice(STEPS))).tick()

    def mine(self) -> None:
        self.anvil.mine(self.luck.randint(1, 3))

    def sync(self) -> None:
        self.stage.sync()

    def toggle_automine(self) -> None:
        self.automine = not self.automine
        self.anvil.set_automine(self.automine)

    def drop(self) -> None:
        pool = self.anvil.request("txpool_content")["pending"]
        waiting = [tx["hash"] for by_nonce in pool.values() for tx in by_nonce.values()]
        if waiting:
            self.anvil.drop_transaction(self.luck.choice(sorted(waiting)))

    def reorg(self) -> None:
        depth = min(self.luck.randint(1, DEPTH_MAX), self.anvil.head().number - self.base)
        if depth > 0:
            self.anvil.reorg(depth)

    def bring_back(self) -> None:
        """Give the pool something that was signed once, as another node might."""
        if self.raw_txs:
            with suppress(NodeRefused):
                self.stage.house().node.send_raw(self.luck.choice(self.raw_txs))

    def spike(self) -> None:
        fee_wei = self.luck.choice([GWEI, 30 * GWEI, 60 * GWEI])
        self.anvil.request("anvil_setNextBlockBaseFeePerGas", hex(fee_wei))
        self.anvil.mine()

    def forbid(self) -> None:
        self.set_settler(False)

    def allow(self) -> None:
        self.set_settler(True)

    def set_settler(self, allowed: bool) -> None:
        if not self.automine:
            return
        payouts = self.stage.world.contracts.payouts.functions
        for role in KEYS:
            address = self.stage.world.accounts[role].address
            self.stage.world.send("admin", self.position.functions.setSettler(address, allowed))
            self.stage.world.send("admin", payouts.setPayer(address, allowed))

    def pause(self) -> None:
        usdc = self.stage.world.contracts.usdc.functions
        if self.automine:
            call = usdc.unpause() if usdc.paused().call() else usdc.pause()
            self.stage.world.send("admin", call)

    def lie(self) -> None:
        self.liar.lie = self.luck.choice([None, *LIES])

    def release(self) -> None:
        if self.automine:
            self.stage.world.send("owner", self.position.functions.requestRelease(self.token_id))

    def want(self) -> None:
        self.stage.want(self.token_id)

    def heal(self) -> None:
        """End every fault, and let everybody finish."""
        self.liar.lie = None
        self.anvil.set_automine(True)
        self.automine = True
        self.anvil.request("anvil_setNextBlockBaseFeePerGas", hex(GWEI))
        self.anvil.mine()
        self.allow()
        if self.stage.world.contracts.usdc.functions.paused().call():
            self.pause()
        self.stage.sync()
        for round_number in range(48):
            # What got stuck in a spike is raised, by the key that signed it.
            self.stage.ahead_s += 61
            if self.rotations and round_number % 4 == 0:
                self.rotate()
            self.want()
            self.tick()
            self.anvil.mine(2)
            self.stage.sync()
            if round_number >= 10 and self.is_over():
                return

    def is_over(self) -> bool:
        open_states = {"planned", "simulated", "sent"}
        paid = {states[-1] for states in self.stage.payout_states().values()}
        return (
            set(self.stage.usage_states().values()) <= {"settled"}
            and len(self.stage.payout_states()) == len(self.owed)
            and paid <= {"paid", "credited"}
            and self.payment_states() <= {"settled"}
            and not open_states & {str(intent.state) for intent in self.stage.intents()}
        )

    def payment_states(self) -> set[str]:
        return {load(self.stage.engine, payment_id).state for payment_id in self.signed}


@pytest.fixture
def stage(world: World, kind: str, tmp_path: Path) -> Iterator[Stage]:
    """Return a ledger of a kind beside the chain, with keeper and indexer at hand."""
    with Databases(kind, tmp_path) as databases:
        yield make_stage_on(world, databases.open_unbound())


def runs() -> Iterator[object]:
    """Yield (kind of ledger, seed): a few of each in every run, and sixty."""
    for kind, usual in ((SQLITE, 5), (POSTGRES, 1)):
        marks = [needs_postgres] if kind == POSTGRES else []
        for seed in range(60):
            slow = [] if seed < usual else [pytest.mark.slow]
            yield pytest.param(kind, seed, marks=[*marks, *slow])


@pytest.fixture
def liar(stage: Stage) -> Iterator[Liar]:
    """Return one of three endpoints, to lie or not."""
    opened = [HttpTransport(stage.world.anvil.url) for _ in range(3)]
    liar = Liar(opened[0])
    stage.endpoints = [liar, *opened[1:]]
    yield liar
    for endpoint in opened:
        endpoint.close()


@pytest.mark.parametrize(("kind", "seed"), runs())
@pytest.mark.sampled(3)
def test_keeper__everything_at_once__everything_is_settled_once(
    stage: Stage, liar: Liar, seed: int
) -> None:
    stage.settings.update(
        GIVE_UP_BLOCKS=str(2 * DEPTH_MAX + 4),
        RECEIPT_TIMEOUT_S="0.05",
        RELEASE_GRACE_S="0",
        MAX_STALENESS_S="10000",
        SWEEP_MAX_AGE_S="0",
        PAYMENT_CONFIRMATIONS="1",
        HARVEST_RECHECK_S="60",
    )
    campaign = Campaign(stage, liar, seed)
    for _ in range(60):
        campaign.step()
    stage.sync()
    campaign.heal()

    assert stage.usage_states() == dict.fromkeys(campaign.costs, "settled")
    assert stage.chain_spent(campaign.token_id) == sum(campaign.costs.values())
    for payee in (*PAYEES, REFUSED_PAYEE):
        owed_usdc = sum(usdc for to, usdc in campaign.owed.values() if to == payee)
        assert sum(stage.received(payee)) == owed_usdc
    ends = [states[-1] for states in stage.payout_states().values()]
    assert len(ends) == len(campaign.owed)
    assert set(ends) <= {"paid", "credited"}
    assert campaign.payment_states() <= {"settled"}
    signed_usdc = sum(signed.value_usdc for signed in campaign.signed.values())
    left_usdc = stage.world.contracts.usdc.functions.balanceOf(PAYER.address).call()
    assert PAYER_USDC - left_usdc == signed_usdc
    sold_usdc = sum(usdc for _, usdc in campaign.owed.values())
    assert sum(load_credit_rows(stage.engine)) == signed_usdc + sold_usdc
    with read(stage.engine) as connection:
        assert load_overcharges(connection) == {}
    assert audit(stage.engine, stage.world.anvil.web3, stage.world.deployment) == []
    for kind in ("settle", "payout"):
        assert not {"planned", "simulated", "sent"} & set(stage.intent_states(kind))
