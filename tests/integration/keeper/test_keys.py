"""The operator changes the key: what the old one has signed is followed to its end, and done once.

::

    the old key's transaction is in no block
    ├── and can land → the very same bytes again, for as long as it takes; others go on meanwhile
    ├── its nonce is used for something else → the same batch, signed by the new key
    ├── it must not land any more → not sent again, by the new key
    └── the old key has lost its right → the same batch, signed by the new key; a hold anew
    it is in a block
    ├── and reverted there → the same batch, signed by the new key
    └── and the block is reorganised away → the same bytes again
    the old key comes back → goes on with its own
payments have a key of their own
    ├── x402 and payouts are its transactions, the rest the settler's; each counts its own nonces
    ├── after a crash at any step either goes on with its own
    └── one of them without ether → an alarm
"""

from contextlib import suppress

import pytest
from eth_utils.address import to_checksum_address
from structlog.testing import capture_logs

from contracts.errors import CurrentError
from keeper.wiring import build_watch
from ledger.errors import ReserveRefused
from ledger.intents.record import IntentRecord
from scripts.audit import audit
from tests.integration.keeper.test_crash import reorg_from, send_beside
from tests.support.anvil import AnvilError
from tests.support.authorizations import PAYER, authorize, record
from tests.support.deploy import USDC
from tests.support.keepers import Crash, Stage, crash_at

COST = 300_000
OLD, NEW = "keeper", "outsider"


@pytest.fixture
def token_id(stage: Stage) -> int:
    """Return a position with a live hold and posted usage; both keys may act."""
    stage.settings["MAX_STALENESS_S"] = "10000"
    allow(stage, NEW, True)
    token_id = stage.open_held()
    stage.spend(token_id, COST)
    stage.world.anvil.mine(3)
    stage.sync()
    return token_id


def allow(stage: Stage, role: str, allowed: bool) -> None:
    address = stage.world.accounts[role].address
    call = stage.world.contracts.position.functions.setSettler(address, allowed)
    stage.world.send("admin", call)
    stage.sync()


def use_key(stage: Stage, role: str) -> None:
    stage.settings["PRIVATE_KEY"] = stage.world.accounts[role].key.hex()


def set_ether(stage: Stage, role: str, wei: int) -> None:
    address = stage.world.accounts[role].address
    stage.world.anvil.request("anvil_setBalance", address, hex(wei))


def address_of(stage: Stage, role: str) -> str:
    return stage.world.accounts[role].address.lower()


def leave_behind(stage: Stage) -> IntentRecord:
    """Let the old key sign a settlement that no node takes, and change the key."""
    with pytest.raises(Crash):
        stage.keeper(crash_at("stored")).tick()
    set_ether(stage, OLD, 0)
    use_key(stage, NEW)
    return stage.intents()[-1]


def go_on(stage: Stage, rounds: int = 6) -> None:
    for _ in range(rounds):
        with suppress(CurrentError):
            stage.keeper().tick()
        stage.world.anvil.mine(2)
        stage.sync()


def assert_settled_once(stage: Stage, token_id: int, *, by: str) -> IntentRecord:
    """Check that the usage was settled once by one intent that a key has signed; return it."""
    assert stage.chain_spent(token_id) == COST
    assert len(stage.settlements()) == 1
    assert stage.usage_states() == {"request-1": "settled"}
    (settle,) = (intent for intent in stage.intents() if intent.kind == "settle")
    assert (settle.state, settle.sender) == ("confirmed", address_of(stage, by))
    assert audit(stage.engine, stage.world.anvil.web3, stage.world.deployment) == []
    return settle


def test_key__changed__the_same_bytes_again_while_others_go_on(stage: Stage, token_id: int) -> None:
    other = stage.world.open_position(role="second_owner")
    stage.world.earn(20 * USDC)
    stage.world.anvil.warp(1_800)
    stage.sync()
    left = leave_behind(stage)
    for _ in range(3):
        stage.ahead_s += 61
        stage.want(other)
        go_on(stage, rounds=1)
    assert stage.usage_states() == {"request-1": "settling"}
    assert stage.state(other).hold_usdc > 0, "the new key harvests and holds for the others"
    settles = [intent for intent in stage.intents() if intent.kind == "settle"]
    assert [(intent.state, intent.tx_hashes) for intent in settles] == [("sent", (left.tx_hash,))]

    set_ether(stage, OLD, 10**18)
    go_on(stage)

    assert assert_settled_once(stage, token_id, by=OLD).tx_hash == left.tx_hash


def test_key__comes_back__raises_the_fee_of_its_own(stage: Stage, token_id: int) -> None:
    stage.world.anvil.set_automine(False)
    with suppress(CurrentError):
        stage.keeper().tick()
    left = stage.intents()[-1]
    use_key(stage, NEW)
    stage.ahead_s = 61
    stage.keeper().tick()
    assert stage.intents()[-1].tx_hash == left.tx_hash
    use_key(stage, OLD)
    with suppress(CurrentError):
        stage.keeper().tick()
    assert stage.intents()[-1].earlier_tx_hashes == (left.tx_hash,)
    stage.world.anvil.set_automine(True)
    stage.world.anvil.mine()
    stage.sync()

    go_on(stage)

    assert_settled_once(stage, token_id, by=OLD)


def test_key__old_nonce_used_for_something_else__the_same_batch_by_the_new_key(
    stage: Stage, token_id: int
) -> None:
    left = leave_behind(stage)
    set_ether(stage, OLD, 10**18)
    send_beside(stage, OLD, to=stage.world.accounts["owner"].address)
    stage.world.anvil.mine(3)
    stage.sync()

    go_on(stage)

    assert assert_settled_once(stage, token_id, by=NEW).intent_id == left.intent_id


@pytest.mark.parametrize("lands", [False, True])
@pytest.mark.sampled(2)
def test_key__old_one_has_lost_its_right__the_same_batch_by_the_new_key(
    stage: Stage, token_id: int, lands: bool
) -> None:
    left = leave_behind(stage)
    allow(stage, OLD, False)
    stage.world.anvil.mine(3)
    stage.sync()
    if not lands:
        go_on(stage, rounds=1)
        assert stage.intents()[-1].state == "sent", "it may land still, and revert"
        stage.ahead_s = 61
    else:
        set_ether(stage, OLD, 10**18)
    go_on(stage)

    settle = assert_settled_once(stage, token_id, by=NEW)
    assert settle.intent_id == left.intent_id
    assert settle.failed_tx_hashes == (left.tx_hash,)
    set_ether(stage, OLD, 10**18)
    with suppress(AnvilError):
        stage.world.anvil.request("eth_sendRawTransaction", left.raw_tx)
    go_on(stage, rounds=2)
    assert_settled_once(stage, token_id, by=NEW)


def test_key__old_one_may_not_pay_any_more__the_same_payout_batch_by_the_new_key(
    stage: Stage,
) -> None:
    payee = "0x" + "aa" * 20
    stage.settings["MAX_STALENESS_S"] = "10000"
    stage.allow_paying()
    payouts = stage.world.contracts.payouts.functions
    addresses = {role: stage.world.accounts[role].address for role in (OLD, NEW)}
    stage.world.send("admin", payouts.setPayer(addresses[NEW], True))
    stage.sync()
    stage.owe(("a", payee, 3))
    left = leave_behind(stage)
    stage.ahead_s = 61
    go_on(stage, rounds=2)
    assert stage.intents()[-1].state == "sent", "the old key may still pay"

    # It may settle all the same.
    stage.world.send("admin", payouts.setPayer(addresses[OLD], False))
    stage.world.anvil.mine(3)
    stage.sync()
    go_on(stage)

    assert stage.received(payee) == (3, 0)
    (paid,) = stage.intents()
    assert (paid.intent_id, paid.state) == (left.intent_id, "confirmed")
    assert paid.sender == address_of(stage, NEW)
    assert stage.payout_states() == {"a": ["paid"]}


@pytest.mark.parametrize("blocks", [0, 6])
@pytest.mark.sampled(2)
def test_key__reorg_of_what_the_old_one_sent__the_same_bytes_again(
    stage: Stage, token_id: int, blocks: int
) -> None:
    before = stage.world.anvil.head().number
    stage.tick()
    left = stage.intents()[-1]
    stage.world.anvil.mine(blocks)
    stage.sync()
    stage.tick()
    assert stage.intents()[-1].state == ("confirmed" if blocks else "mined")
    use_key(stage, NEW)
    reorg_from(stage, before + 1)
    stage.world.anvil.mine()
    stage.sync()
    assert stage.chain_spent(token_id) == 0

    go_on(stage)

    assert assert_settled_once(stage, token_id, by=OLD).tx_hash == left.tx_hash


def test_key__release_that_a_reorg_took_back__is_not_sent_by_the_new_key(stage: Stage) -> None:
    stage.settings["MAX_STALENESS_S"] = "10000"
    allow(stage, NEW, True)
    token_id = stage.open_held()
    position = stage.world.contracts.position.functions
    stage.world.anvil.mine(3)
    stage.sync()
    stage.tick()
    stage.world.send("owner", position.requestRelease(token_id))
    stage.sync()
    asked_in = stage.world.anvil.head().number
    stage.tick()
    assert stage.state(token_id).hold_usdc == 0
    use_key(stage, NEW)
    reorg_from(stage, asked_in)
    stage.sync()
    with pytest.raises(ReserveRefused, match="hold_pending"):
        stage.spend(token_id, COST)  # the old key's release may land again

    go_on(stage, rounds=3)
    assert stage.state(token_id).hold_usdc > COST, "the hold is not freed"

    allow(stage, OLD, False)
    stage.world.anvil.mine(3)
    stage.sync()
    stage.ahead_s = 61
    go_on(stage)
    stage.spend(token_id, COST)
    stage.ahead_s = 122
    go_on(stage)
    assert_settled_once(stage, token_id, by=NEW)


def split_keys(stage: Stage) -> str:
    """Give payments the other key; return its address. Each kind has something to do."""
    payer = stage.world.accounts[NEW].address
    stage.settings["PAYMENTS_PRIVATE_KEY"] = stage.world.accounts[NEW].key.hex()
    stage.allow_paying()
    payouts = stage.world.contracts.payouts
    stage.world.send("admin", payouts.functions.setPayer(payer, True))
    settler = stage.world.accounts[OLD].address
    stage.world.send("admin", payouts.functions.setPayer(settler, False))
    stage.world.send("admin", stage.world.contracts.position.functions.setSettler(payer, False))
    stage.owe(("due", "0x" + "ab" * 20, 3))
    stage.world.fund_usdc(PAYER.address, USDC)
    stage.sync()
    record(stage.engine, authorize(stage.world, USDC))
    return payer.lower()


def senders(stage: Stage) -> set[tuple[str, str | None]]:
    return {(intent.kind, intent.sender) for intent in stage.intents()}


def test_payments_key__each_kind__is_signed_by_its_own_key(stage: Stage, token_id: int) -> None:
    payer = split_keys(stage)
    settler = stage.world.accounts[OLD].address.lower()

    report = stage.tick()

    assert report.acted == {"settle": 1, "x402": 1, "payout": 1}
    assert senders(stage) - {("hold", settler)} == {
        ("settle", settler),
        ("x402", payer),
        ("payout", payer),
    }
    assert stage.chain_spent(token_id) == COST
    assert stage.keeper().addresses == (
        stage.world.accounts[OLD].address,
        stage.world.accounts[NEW].address,
    )


@pytest.mark.parametrize("step", ["stored", "mined"])
def test_payments_key__crash_after_a_step__each_goes_on_with_its_own(
    stage: Stage, token_id: int, step: str
) -> None:
    payer = split_keys(stage)
    for _ in range(3):
        with suppress(Crash):
            stage.keeper(crash_at(step)).tick()
        stage.sync()
    for _ in range(3):
        stage.world.anvil.mine(3)
        stage.sync()
        stage.tick()

    settler = stage.world.accounts[OLD].address.lower()
    sent = {(kind, sender) for kind, sender in senders(stage) if sender is not None}
    assert sent - {("hold", settler)} == {
        ("settle", settler),
        ("x402", payer),
        ("payout", payer),
    }
    assert stage.chain_spent(token_id) == COST
    usdc = stage.world.contracts.usdc.functions
    assert usdc.balanceOf(to_checksum_address("0x" + "ab" * 20)).call() == 3


def test_payments_key__is_out_of_ether__an_alarm(stage: Stage) -> None:
    split_keys(stage)
    set_ether(stage, NEW, 7)
    keeper = stage.keeper()
    watch = build_watch(stage.keeper_settings(), stage.house(), keeper)

    with capture_logs() as logs:
        watch.look()

    (alarm,) = [line for line in logs if line.get("alarm") == "balance_low"]
    assert alarm["balance_wei"] == 7
