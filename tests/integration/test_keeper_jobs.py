"""The keeper's jobs where one item is bad, and the treasury's payments, on a real chain.

::

    settle, hold
    └── one position is refused → it is left out and rests, the others go through
    harvest
    ├── a vault burns all gas → refused alone, the others are harvested
    └── sent, and its due time did not move → a suspect
    payout
    ├── payable → one payment for each payee, then paid or credited by the batch's events
    ├── crash after any step → paid once
    ├── treasury too small → the payouts that it covers
    ├── payee that the contract refuses → left out, the others are paid
    └── payer's right withdrawn → nothing is signed, the payouts are free again
    tick of one job → nothing else
"""

import time
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from web3.contract import Contract

from keeper.facts import Kind
from keeper.jobs import TIDY, Outcome
from keeper.wiring import NOBODY, build_reader
from ledger.engine import read, write
from ledger.harvests import load_due_harvests, note_harvests_sent
from ledger.mirror import load_mirror
from ledger.tables import MarketPayout, PayoutBatch, PayoutItem, Position, table_of
from tests.support.deploy import USDC, compile_contracts
from tests.support.keepers import Crash, Stage, crash_at

PAYEE = "0x" + "aa" * 20
OTHER_PAYEE = "0x" + "bb" * 20


def open_two_held(stage: Stage) -> list[int]:
    """Open two positions with credit and a hold each, mirrored."""
    tokens = [stage.world.open_position(role=role) for role in ("owner", "second_owner")]
    stage.world.earn(40 * USDC)
    stage.world.anvil.warp(1_800)
    stage.sync()
    assert stage.tick().acted == {Kind.HARVEST: 2}
    for token_id in tokens:
        stage.want(token_id)
    assert stage.tick().acted == {Kind.HOLD: 2}
    return tokens


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
    keeper = stage.keeper()

    report = keeper.tick()

    assert report.acted == {Kind.SETTLE: 1}
    assert report.refused == [f"settle {bad}: position: cost above hold"]
    assert report.outcome is Outcome.ACTED
    assert stage.chain_spent(good) == 300_000
    assert stage.batch_states() == ["abandoned", "planned"]
    assert keeper.tick().acted == {}, "it rests"
    stage.sync()
    assert stage.usage_states() == {f"request-{bad}": "posted", f"request-{good}": "settled"}
    stage.assert_sound()

    # Once the mirror knows, the hold is placed again, and the rest is settled.
    assert stage.tick().acted == {Kind.HOLD: 1}
    assert stage.tick().acted == {Kind.SETTLE: 1}
    assert stage.chain_spent(bad) == 300_000
    stage.assert_sound()


def test_settle__every_hold_is_gone_on_chain__nothing_is_signed(stage: Stage) -> None:
    tokens = open_two_held(stage)
    for token_id in tokens:
        stage.spend(token_id, 300_000, request_id=f"request-{token_id}")
    free = [(token_id, 0, 0, 0) for token_id in tokens]
    stage.world.send("keeper", stage.world.contracts.position.functions.hold(free))

    report = stage.keeper().tick()

    assert report.outcome is Outcome.FAILED
    assert len(report.refused) == 2
    assert stage.intent_states(Kind.SETTLE) == ["abandoned"]


def test_harvest__a_vault_burns_all_gas__the_others_are_harvested(stage: Stage) -> None:
    honest = stage.open_earning()
    vault, hostile = open_hostile(stage)
    burns_gas = 1 << 14
    stage.world.send("admin", vault.functions.misbehave(burns_gas))
    stage.world.anvil.warp(1_800)
    stage.sync()

    assert stage.tick().acted == {Kind.HARVEST: 1}

    assert stage.state(honest).credited_usdc > 0
    assert stage.state(hostile).credited_usdc == 0
    assert stage.tick().outcome is Outcome.NOTHING_DUE, "the hostile one rests"
    stage.world.send("admin", vault.functions.misbehave(0))
    stage.world.anvil.warp(300)
    stage.sync()
    assert stage.tick().acted == {Kind.HARVEST: 1}
    assert stage.state(hostile).credited_usdc > 0


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
    reader = build_reader(stage.keeper_settings(), stage.house(), sender=NOBODY)
    return [quote.is_suspect for quote in reader.read(now_s=int(time.time())).harvests]


def test_harvest__sent_and_not_moved__is_a_suspect_until_it_succeeds(stage: Stage) -> None:
    token_id = stage.open_earning()
    with write(stage.engine) as connection:
        mirror = load_mirror(connection)
        assert mirror is not None
        note_harvests_sent(connection, [token_id], sent_at_s=mirror.block_timestamp_s)
    assert suspects(stage) == [True]

    assert stage.tick().acted == {Kind.HARVEST: 1}
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
    assert stage.keeper().tick([Kind.SWEEP]).acted == {}
    assert stage.keeper().tick([Kind.HARVEST]).acted == {Kind.HARVEST: 1}
    assert stage.keeper().tick([Kind.SETTLE, TIDY]).acted == {Kind.SETTLE: 1}


# ------------------------------------------------------------------------------------------ payouts


@pytest.fixture
def paying(stage: Stage) -> Stage:
    """Return a stage whose keeper may pay from a treasury of 10 USDC."""
    payouts = stage.world.contracts.payouts
    keeper = stage.world.accounts["keeper"].address
    stage.world.send("admin", payouts.functions.setPayer(keeper, True))
    stage.world.fund_usdc(payouts.address, 10 * USDC)
    stage.settings["PAYOUT_MAX_AGE_S"] = "0"
    stage.sync()
    return stage


def owe(stage: Stage, *payouts: tuple[str, str, int]) -> None:
    """Make (payout id, payee, amount) payable, as the market does."""
    rows = [
        {
            "payout_id": payout_id,
            "seller": payee,
            "payee": payee,
            "amount_usdc": amount_usdc,
            "planned_at_s": 1_000 + place,
        }
        for place, (payout_id, payee, amount_usdc) in enumerate(payouts)
    ]
    with write(stage.engine) as connection:
        connection.execute(insert(table_of(MarketPayout)), rows)


def item_states(stage: Stage) -> dict[str, list[str]]:
    item = table_of(PayoutItem)
    with read(stage.engine) as connection:
        rows = connection.execute(
            select(item.c.payout_id, item.c.state).order_by(item.c.payout_id, item.c.state)
        ).all()
    found: dict[str, list[str]] = {}
    for payout_id, state in rows:
        found.setdefault(str(payout_id), []).append(str(state))
    return found


def paid_states(stage: Stage) -> list[str]:
    batch = table_of(PayoutBatch)
    with read(stage.engine) as connection:
        rows = connection.execute(select(batch.c.state).order_by(batch.c.batch_id)).scalars()
        return [str(state) for state in rows]


def balances(stage: Stage, payees: Sequence[str] = (PAYEE, OTHER_PAYEE)) -> list[int]:
    usdc = stage.world.contracts.usdc.functions
    checksum = stage.world.anvil.web3.to_checksum_address
    return [int(usdc.balanceOf(checksum(payee)).call()) for payee in payees]


def finish(stage: Stage) -> None:
    """Let keepers and indexer go on until every intent is final."""
    for _ in range(5):
        stage.tick()
        stage.world.anvil.mine(3)
        stage.sync()


def test_payout__payable__is_paid_once_and_a_refused_payee_is_credited(paying: Stage) -> None:
    usdc = paying.world.contracts.usdc.functions
    blacklisted = paying.world.anvil.web3.to_checksum_address(OTHER_PAYEE)
    paying.world.send("admin", usdc.blacklist(blacklisted, True))
    owe(paying, ("a", PAYEE, 3), ("b", PAYEE, 4), ("c", OTHER_PAYEE, 5), ("d", "T-tron", 6))

    assert paying.keeper().tick().acted == {Kind.PAYOUT: 3}
    assert item_states(paying) == {"a": ["planned"], "b": ["planned"], "c": ["planned"]}
    assert paying.keeper().tick().acted == {}
    assert item_states(paying) == {"a": ["sent"], "b": ["sent"], "c": ["sent"]}

    finish(paying)

    assert item_states(paying) == {"a": ["paid"], "b": ["paid"], "c": ["credited"]}
    assert paid_states(paying) == ["paid"]
    assert balances(paying) == [7, 0]
    credited = paying.world.contracts.payouts.functions.credited(blacklisted).call()
    assert credited == 5
    assert paying.tick().outcome is Outcome.NOTHING_DUE


@pytest.mark.parametrize("step", ["planned", "simulated", "stored", "sent", "included", "mined"])
def test_payout__crash_after_any_step__is_paid_once(paying: Stage, step: str) -> None:
    owe(paying, ("a", PAYEE, 3))
    with pytest.raises(Crash):
        paying.keeper(crash_at(step)).tick()

    finish(paying)

    assert balances(paying) == [3, 0]
    assert item_states(paying) == {"a": ["paid"]}
    assert len(paying.intent_states(Kind.PAYOUT)) == 1


def test_payout__treasury_too_small__pays_what_it_covers(paying: Stage) -> None:
    owe(paying, ("a", PAYEE, 11 * USDC), ("b", OTHER_PAYEE, 10 * USDC))

    assert paying.tick().acted == {Kind.PAYOUT: 1}
    assert balances(paying) == [0, 10 * USDC]
    finish(paying)
    assert paying.tick().outcome is Outcome.NOTHING_DUE

    paying.world.fund_usdc(paying.world.contracts.payouts.address, 11 * USDC)
    paying.sync()
    assert paying.tick().acted == {Kind.PAYOUT: 1}
    assert balances(paying) == [11 * USDC, 10 * USDC]


def test_payout__payee_that_the_contract_refuses__the_others_are_paid(paying: Stage) -> None:
    treasury = paying.world.deployment.payouts
    owe(paying, ("a", treasury, 3), ("b", PAYEE, 4))

    report = paying.keeper().tick()

    assert report.acted == {Kind.PAYOUT: 1}
    assert report.refused == ["payout a: payouts: payee not allowed"]
    assert balances(paying) == [4, 0]


def test_payout__right_withdrawn__nothing_is_signed_and_the_payouts_are_free(
    paying: Stage,
) -> None:
    owe(paying, ("a", PAYEE, 3))
    keeper = paying.world.accounts["keeper"].address
    set_payer = paying.world.contracts.payouts.functions.setPayer
    paying.world.send("admin", set_payer(keeper, False))
    paying.sync()

    report = paying.keeper().tick()

    assert "payouts: not payer" in report.failures[0]
    assert item_states(paying) == {"a": ["freed"]}
    paying.world.send("admin", set_payer(keeper, True))
    paying.sync()
    assert paying.tick().acted == {Kind.PAYOUT: 1}
    assert balances(paying) == [3, 0]
    assert item_states(paying) == {"a": ["freed", "planned"]}
