"""What the gas bench measures: whole transactions of ours and of its references.

Every figure is of the steady state: storage that was written before is written again, except where
a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from web3.contract import Contract

from bench.gas.chain import DAY_S, NO_SMOOTHING, NOON_S, Chain, mint_with_credit, run_anvil
from bench.peers import Peer

USDC: Final = 1_000_000
CENT: Final = USDC // 100
HOUR_S: Final = 3_600
RECEIPTS_ROOT: Final = b"\x07" * 32
BATCH: Final = 100

Gas = dict[str, int]


def measure_mint(chain: Chain, token: Contract) -> int:
    """A token for somebody who has none, in a collection that has one."""
    chain.send(token.functions.mint(), chain.owner)
    return chain.send(token.functions.mint(), chain.second_owner)


def measure_direct(chain: Chain, vault: Contract) -> Gas:
    """What a person pays who uses the vault without us, twice and twice."""
    chain.fund(chain.saver, 2_001 * USDC)
    chain.send(chain.usdc.functions.approve(vault.address, 10_000 * USDC), chain.saver)
    gas: Gas = {}
    for _ in range(2):
        deposit = vault.functions.deposit(1_000 * USDC, chain.saver)
        gas["deposit"] = chain.send(deposit, chain.saver)
    for _ in range(2):
        withdraw = vault.functions.withdraw(100 * USDC, chain.saver, chain.saver)
        gas["withdraw"] = chain.send(withdraw, chain.saver)
    return gas


def measure_adapter(chain: Chain, vault: Contract) -> Gas:
    """The same through a position, and what only a position has."""
    adapter = chain.adapter.functions
    create = adapter.createVault(1, NO_SMOOTHING, vault.address, 60)
    token_id = chain.next_token_id()
    chain.send(create, chain.owner)
    gas = {"createVault": chain.send(create, chain.second_owner)}
    chain.fund(chain.owner, 2_001 * USDC)
    chain.send(chain.usdc.functions.approve(chain.adapter.address, 10_000 * USDC), chain.owner)
    for _ in range(2):
        gas["deposit"] = chain.send(adapter.deposit(token_id, 1_000 * USDC, 0), chain.owner)
    for _ in range(3):
        chain.fund(vault.address, 10 * USDC)
        gas["harvest"] = chain.send(adapter.harvest(token_id), chain.outsider)
    for _ in range(2):
        withdraw = adapter.withdrawPrincipal(token_id, 100 * USDC)
        gas["withdrawPrincipal"] = chain.send(withdraw, chain.owner)
    return gas


def measure_position(chain: Chain) -> Gas:
    """One position's allowance: hold, settle, revoke, withdraw."""
    position = chain.position.functions
    mint_with_credit(chain, 1, 10 * USDC)
    chain.fund(chain.owner, USDC)
    gas: Gas = {}
    for amount in (USDC, 2 * USDC):
        hold = position.hold([(0, amount, chain.now_s() + HOUR_S, 0)])
        gas["hold"] = chain.send(hold, chain.settler)
    for batch, name in ((1, "settle_new_word"), (2, "settle")):
        settle = position.settle(_batch_id(batch), RECEIPTS_ROOT, [(0, CENT)])
        gas[name] = chain.send(settle, chain.settler)
    chain.send(position.bumpKeyEpoch(0), chain.owner)
    gas["bumpKeyEpoch"] = chain.send(position.bumpKeyEpoch(0), chain.owner)
    gas["withdrawUnspentYield"] = chain.send(position.withdrawUnspentYield(0), chain.owner)
    return gas


def measure_batch(chain: Chain) -> Gas:
    """A hundred positions in one transaction; the gas of each."""
    position = chain.position.functions
    mint_with_credit(chain, BATCH, USDC)

    def hold_all() -> int:
        expires_at_s = chain.now_s() + HOUR_S
        holds = [(token_id, 10 * CENT, expires_at_s, 0) for token_id in range(BATCH)]
        return chain.send(position.hold(holds), chain.settler) // BATCH

    hold_all()
    gas = {"hold_of_100": hold_all()}
    items = [(token_id, CENT) for token_id in range(BATCH)]
    settle = position.settle(_batch_id(1), RECEIPTS_ROOT, items)
    gas["settle_of_100"] = chain.send(settle, chain.settler) // BATCH
    chain.request("evm_setNextBlockTimestamp", NOON_S + DAY_S)
    chain.request("evm_mine")
    gas["hold_of_100_new_day"] = hold_all()
    return gas


def _batch_id(number: int) -> bytes:
    return number.to_bytes(32, "big")


@dataclass(frozen=True, slots=True)
class Measured:
    """All figures of one run, over Circle's USDC where it is there."""

    mint: Gas  # by peer
    direct: dict[str, Gas]  # by vault, then by function
    through: dict[str, Gas]
    ours: Gas
    mocked: Gas  # the same as ours, over the mock of USDC
    vault: str  # the one that ours was measured on


def measure(peers: dict[str, Peer], circle: Peer | None) -> Measured:
    """Measure everything, each part on a chain put back to a fresh deployment.

    ``circle`` is Circle's USDC; without it, all is over the mock.
    """
    with run_anvil() as web3:
        chain = Chain(web3, circle)
        mint: Gas = {}
        for name, peer in peers.items():
            chain.reset()
            mint[name] = measure_mint(chain, chain.deploy(peer.codes["Token"]))
        vaults: dict[str, Peer | None] = {**peers, "snekmate": None}
        direct = {name: _measure_on(chain, measure_direct, peer) for name, peer in vaults.items()}
        through = {name: _measure_on(chain, measure_adapter, peer) for name, peer in vaults.items()}
        name = next(iter(vaults))
        ours = through[name] | _measure_parts(chain)
    mocked = ours
    if circle is not None:
        with run_anvil() as web3:
            chain = Chain(web3)
            mocked = _measure_on(chain, measure_adapter, vaults[name]) | _measure_parts(chain)
    return Measured(mint, direct, through, ours, mocked, vault=name)


def _measure_on(
    chain: Chain, measure_vault: Callable[[Chain, Contract], Gas], peer: Peer | None
) -> Gas:
    """Measure on a fresh vault of a peer, or of snekmate's kind."""
    chain.reset()
    if peer is None:
        return measure_vault(chain, chain.deploy_ours("PlainVault", chain.usdc.address))
    return measure_vault(chain, chain.deploy(peer.codes["Vault"], chain.usdc.address))


def _measure_parts(chain: Chain) -> Gas:
    gas: Gas = {}
    for measure_part in (measure_position, measure_batch):
        chain.reset()
        gas |= measure_part(chain)
    return gas
