"""The keeper's jobs where one item is bad, and harvests in several transactions, on a real chain.

::

    settle, hold
    └── one position is refused → it is left out and rests, the others go through
    harvest
    ├── a vault burns all gas → refused alone, the others are harvested
    │   └── so that the node calls it no revert → the same, and every other job goes on
    ├── sent, and its due time did not move → a suspect
    └── more than one transaction holds → several, sent before the first is waited for
        ├── crash in the second → each harvest once
        └── fees over the bound at the second → the first is waited for all the same
    tick of one job → nothing else
"""

import time
from typing import Any

import pytest
from sqlalchemy import select, update
from web3.contract import Contract

from contracts.errors import Reverted
from keeper.rounds import TIDY, RoundOutcome
from keeper.wiring import NOBODY, build_duties, build_reader
from ledger.chain.harvests import load_due_harvests, note_harvests_sent
from ledger.chain.mirror import load_mirror
from ledger.database.engine import read, write
from ledger.tables import Position, table_of
from tests.support.deploy import USDC, compile_contracts
from tests.support.keepers import Crash, Stage


def open_two_held(stage: Stage) -> list[int]:
    """Open two positions with credit and a hold each, mirrored."""
    tokens = [stage.world.open_position(role=role) for role in ("owner", "second_owner")]
    stage.world.earn(40 * USDC)
    stage.world.anvil.warp(1_800)
    stage.sync()
    assert stage.tick().acted == {"harvest": 2}
    for token_id in tokens:
        stage.want(token_id)
    assert stage.tick().acted == {"hold": 2}
    return tokens


REVERTS_EXITS = 1 << 12
HOSTILE_ABI: Any = [
    {"type": "constructor", "inputs": [{"name": "usdc_", "type": "address"}]},
    *(
        {
            "type": "function",
            "name": name,
            "inputs": [{"name": "value", "type": "uint256"}],
            "outputs": [],
            "stateMutability": "nonpayable",
        }
        for name in ("misbehave", "setPrice")
    ),
]


def open_hostile(stage: Stage) -> tuple[Contract, int]:
    """Open a position in a vault that can misbehave and has earned; return both."""
    world, web3 = stage.world, stage.world.anvil.web3
    adapter, usdc = world.contracts.adapter, world.contracts.usdc
    made = web3.eth.contract(abi=HOSTILE_ABI, bytecode=compile_contracts()["HostileVault"])
    built: Any = made.constructor(usdc.address)
    address = world.send("admin", built)["contractAddress"]
    assert address is not None
    vault = web3.eth.contract(address=address, abi=HOSTILE_ABI)
    token_id = int(world.contracts.position.functions.totalSupply().call())
    owner = world.accounts["second_owner"].address
    world.fund_usdc(owner, 1_000 * USDC)
    approve = usdc.functions.approve(adapter.address, 1_000 * USDC)
    world.send("second_owner", approve)
    opened = (1, 10_000, address, 30, 1_000 * USDC, 0)
    world.send("second_owner", adapter.functions.open(*opened))
    world.fund_usdc(address, 200 * USDC)
    world.send("admin", vault.functions.setPrice(11 * 10**17))
    return vault, token_id


def test_settle__one_hold_is_gone_on_chain__the_others_are_settled(stage: Stage) -> None:
    bad, good = open_two_held(stage)
    for token_id in (bad, good):
        stage.spend(token_id, 300_000, request_id=f"request-{token_id}")
    # Behind the mirror's back: the ledger still believes in this hold.
    free = stage.world.contracts.position.functions.hold([(bad, 0, 0, 0)])
    stage.world.send("keeper", free)
    report = stage.keeper().tick()

    assert report.acted == {"settle": 1}
    assert report.refused == [f"settle {bad}: position: cost above hold"]
    assert report.outcome is RoundOutcome.ACTED
    assert stage.chain_spent(good) == 300_000
    assert stage.batch_states() == ["abandoned", "planned"]
    assert stage.keeper().tick().acted == {}, "it rests"
    stage.sync()
    assert stage.usage_states() == {f"request-{bad}": "posted", f"request-{good}": "settled"}
    stage.assert_sound()

    # Once the mirror knows, the hold is placed again, and the rest is settled, by any keeper.
    assert stage.tick().acted == {"hold": 1}
    assert stage.tick().acted == {}, "it rests"
    stage.ahead_s = 600
    stage.settings["MAX_STALENESS_S"] = "1000"
    assert stage.tick().acted == {"settle": 1}
    assert stage.chain_spent(bad) == 300_000
    stage.assert_sound()


def test_settle__every_hold_is_gone_on_chain__nothing_is_signed(stage: Stage) -> None:
    tokens = open_two_held(stage)
    for token_id in tokens:
        stage.spend(token_id, 300_000, request_id=f"request-{token_id}")
    free = [(token_id, 0, 0, 0) for token_id in tokens]
    stage.world.send("keeper", stage.world.contracts.position.functions.hold(free))

    report = stage.keeper().tick()

    assert report.outcome is RoundOutcome.FAILED
    assert len(report.refused) == 2
    assert stage.intent_states("settle") == ["abandoned"]


def test_harvest__a_vault_burns_all_gas__the_others_are_harvested(stage: Stage) -> None:
    honest = stage.open_earning()
    vault, hostile = open_hostile(stage)
    burns_gas = 1 << 14
    stage.world.send("admin", vault.functions.misbehave(burns_gas))
    stage.world.anvil.warp(1_800)
    stage.sync()

    assert stage.tick().acted == {"harvest": 1}

    assert stage.state(honest).credited_usdc > 0
    assert stage.state(hostile).credited_usdc == 0
    assert stage.tick().outcome is RoundOutcome.NOTHING_DUE, "the hostile one rests"
    stage.world.send("admin", vault.functions.misbehave(0))
    stage.world.anvil.warp(300)
    stage.sync()
    assert stage.tick().acted == {"harvest": 1}
    assert stage.state(hostile).credited_usdc > 0


HUNGRY_CODE = "0x5b6100645a116000576298968060005260206000f3"
"""Answers 10,000,000 to anything, once it has burnt all but 100 gas of what it got."""


def test_harvest__a_vault_leaves_no_gas_to_its_caller__stops_nobody_else(stage: Stage) -> None:
    token_id = stage.open_held()
    vault, hostile = open_hostile(stage)
    stage.spend(token_id, 300_000)
    stage.world.earn(20 * USDC)
    stage.world.anvil.request("anvil_setCode", vault.address, HUNGRY_CODE)
    stage.world.anvil.warp(1_800)
    stage.sync()
    adapter = stage.world.contracts.adapter
    call = {"to": adapter.address, "data": adapter.encode_abi("harvest", args=[hostile])}
    with pytest.raises(Reverted, match=r"(?i)out ?of ?gas"):
        stage.house().node.call({**call, "gas": hex(400_000)})

    rehearsed = stage.rehearsal().run()
    report = stage.tick()

    assert rehearsed.acted == report.acted == {"settle": 1, "harvest": 1}
    assert rehearsed.failures == report.failures == []
    assert stage.tick().outcome is RoundOutcome.NOTHING_DUE, "it rests"
    assert stage.state(hostile).credited_usdc == 0
    with read(stage.engine) as connection:
        position = table_of(Position)
        query = select(position.c.harvest_failures).where(position.c.token_id == hostile)
        assert connection.execute(query).scalar_one() == 1


def open_three_earning(stage: Stage) -> list[int]:
    tokens = [stage.world.open_position(role=role) for role in ("owner", "second_owner", "admin")]
    stage.world.earn(60 * USDC)
    stage.world.anvil.warp(1_800)
    stage.settings.update(HARVEST_ITEMS_MAX="1", HARVEST_TRANSACTIONS_MAX="2")
    stage.sync()
    return tokens


def test_harvest__more_than_one_transaction_holds__several_in_one_block(stage: Stage) -> None:
    tokens = open_three_earning(stage)
    anvil = stage.world.anvil
    anvil.set_automine(False)
    assert stage.keeper().tick().outcome is RoundOutcome.WAITING
    sent = stage.intents()
    assert [(intent.kind, intent.nonce) for intent in sent] == [("harvest", 0), ("harvest", 1)]
    assert {tuple(intent.payload["token_ids"]) for intent in sent} < {(t,) for t in tokens}
    anvil.mine()
    anvil.set_automine(True)
    stage.sync()
    report = stage.tick()

    assert len({intent.mined_block for intent in stage.intents()[:2]}) == 1
    assert report.acted == {"harvest": 1}
    assert all(stage.state(token_id).credited_usdc > 0 for token_id in tokens)
    events = stage.world.contracts.position.events.YieldCredited
    assert len(events.get_logs(from_block=0)) == 3


@pytest.mark.parametrize("step", ["planned", "simulated", "stored", "sent", "included", "mined"])
@pytest.mark.sampled(3)
def test_harvest__crash_in_the_second_transaction__each_is_done_once(
    stage: Stage, step: str
) -> None:
    open_three_earning(stage)
    reached: list[str] = []

    def crash_at_the_second(name: str) -> None:
        reached.append(name)
        if reached.count(step) == 2:
            raise Crash(step)

    with pytest.raises(Crash):
        stage.keeper(crash_at_the_second).tick()
    for _ in range(4):
        stage.tick()
        stage.world.anvil.warp(301)
        stage.world.anvil.mine(3)
        stage.sync()

    events = stage.world.contracts.position.events.YieldCredited
    assert len(events.get_logs(from_block=0)) == 3
    assert set(stage.intent_states("harvest")) <= {"abandoned", "confirmed"}


def test_harvest__fees_over_the_bound_at_the_second__the_first_is_followed(stage: Stage) -> None:
    open_three_earning(stage)
    stage.settings["FEE_WEI_MAX"] = str(5 * 10**9)

    def spike(name: str) -> None:
        if name == "sent":
            # It is accepted before it is mined.
            stage.world.anvil.wait_until_mined()
            stage.world.anvil.request("anvil_setNextBlockBaseFeePerGas", hex(10**11))
            stage.world.anvil.mine()

    report = stage.keeper(spike).tick()
    # Anvil keeps it beyond the test otherwise.
    stage.world.anvil.request("anvil_setNextBlockBaseFeePerGas", hex(10**9))
    stage.world.anvil.mine()

    assert report.outcome is RoundOutcome.WAITING
    assert report.acted == {"harvest": 1}
    assert [str(intent.state) for intent in stage.intents()] == ["mined", "simulated"]


def test_load_due_harvests__rest_and_shares__decide_who_is_looked_at(stage: Stage) -> None:
    tokens = [stage.world.open_position(role=role) for role in ("owner", "second_owner", "admin")]
    stage.world.anvil.warp(1_800)
    stage.sync()
    position = table_of(Position)
    with write(stage.engine) as connection:
        mirror = load_mirror(connection)
        assert mirror is not None
        now_s = mirror.block_timestamp_s
        for token_id, changes in (
            (tokens[0], {"harvest_look_at_s": now_s}),
            (tokens[1], {"harvest_look_at_s": now_s + 1}),
            (tokens[2], {"shares": 0}),
        ):
            connection.execute(
                update(position).where(position.c.token_id == token_id).values(changes)
            )
        found = load_due_harvests(connection, now_s=now_s, limit=10)
        later = load_due_harvests(connection, now_s=now_s + 1, limit=10)

    assert [due.token_id for due in found] == [tokens[0]]
    assert [due.token_id for due in later] == tokens[:2], "by when each was to be looked at"


def suspects(stage: Stage) -> list[bool]:
    """Return of every due position whether the keeper suspects it."""
    settings, house = stage.keeper_settings(), stage.house()
    reader = build_reader(settings, house, build_duties(settings, house, sender=NOBODY))
    snapshot = reader.read(now_s=int(time.time()), kinds={"harvest"})
    return [quote.is_suspect for quote in snapshot.facts["harvest"].quotes]


def test_harvest__sent_and_not_moved__is_a_suspect_until_it_succeeds(stage: Stage) -> None:
    token_id = stage.open_earning()
    with write(stage.engine) as connection:
        mirror = load_mirror(connection)
        assert mirror is not None
        note_harvests_sent(connection, [token_id], sent_at_s=mirror.block_timestamp_s)
    assert suspects(stage) == [True]

    assert stage.tick().acted == {"harvest": 1}
    stage.world.earn(20 * USDC)
    stage.world.anvil.warp(1_800)
    stage.sync()
    assert suspects(stage) == [False]


def test_tick__one_job__does_nothing_else(stage: Stage) -> None:
    token_id = stage.open_held()
    stage.spend(token_id, 300_000)
    stage.world.anvil.warp(1_800)
    stage.world.earn(20 * USDC)
    stage.sync()

    assert stage.keeper().tick([TIDY]).acted == {}
    assert stage.keeper().tick(["sweep"]).acted == {}
    assert stage.keeper().tick(["harvest"]).acted == {"harvest": 1}
    assert stage.keeper().tick(["settle", TIDY]).acted == {"settle": 1}
