"""The contracts, deployed and wired, the people around them, and the verbs tests speak in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, NamedTuple

import ape
from ape.api import ReceiptAPI, TestAccountAPI
from ape.contracts import ContractInstance
from ape.managers.project import ProjectManager

USDC = 1_000_000
CENT = USDC // 100
HOUR = 3_600
DAY = 86_400
NOON = 23_148 * DAY + DAY // 2
"""When every test begins: a noon (UTC) of 2033, so that no test meets a midnight by chance."""

ALL = 2**256 - 1
NO_SMOOTHING = 10_000
ROOT = b"\x07" * 32
MISBEHAVIOURS = [
    "MINTS_NOTHING",
    "TAKES_HALF",
    "BURNS_DOUBLE",
    "UNDERPAYS",
    "REVERTS_VIEWS",
    "REVERTS_EXITS",
    "ANSWERS_ZERO_MAX",
    "KEEPS_SHARES",
    "LOSES_ON_EXIT",
]
"""As ``MockVault.vy`` declares them, in that order."""


class Account(NamedTuple):
    """What ``accountOf`` answers."""

    credited: int
    spent: int
    withdrawn: int
    held: int
    hold_expires_at: int
    day_cap: int
    day_spent: int
    key_epoch: int


class Position(NamedTuple):
    """What ``positionOf`` answers."""

    vault: str
    principal: int
    shares: int
    interval_minutes: int
    last_harvest_at: int


@dataclass(frozen=True)
class World:
    """One deployment and its actors, by role."""

    project: ProjectManager
    admin: TestAccountAPI
    settler: TestAccountAPI
    payer: TestAccountAPI
    owner: TestAccountAPI
    second_owner: TestAccountAPI
    outsider: TestAccountAPI
    payee: TestAccountAPI
    second_payee: TestAccountAPI
    usdc: ContractInstance
    vault: ContractInstance
    payouts: ContractInstance
    position: ContractInstance
    adapter: ContractInstance
    _batches: Iterable[int] = field(default_factory=lambda: count(1))

    # ------------------------------------------------------------------------------------- time

    @property
    def now(self) -> int:
        """The time of the newest block."""
        return int(ape.chain.blocks.head.timestamp)

    def warp(self, timestamp: int) -> None:
        """Mine a block at ``timestamp``."""
        ape.chain.mine(timestamp=timestamp)

    def wait(self, seconds: int) -> None:
        """Mine a block ``seconds`` after the newest."""
        self.warp(self.now + seconds)

    def next_at(self, timestamp: int) -> None:
        """Give the next transaction's block this time."""
        ape.chain.provider.set_timestamp(timestamp)

    # --------------------------------------------------------------------------------- accounts

    @property
    def as_adapter(self) -> Any:
        """The adapter's address as a sender."""
        return ape.accounts[self.adapter.address]

    def fund(self, to: Any, amount: int) -> None:
        """Give USDC."""
        self.usdc.faucet(to, amount, sender=self.admin)

    def balance(self, of: Any) -> int:
        """Return a USDC balance."""
        return int(self.usdc.balanceOf(of))

    def account(self, token_id: int) -> Account:
        """Read ``accountOf``."""
        return Account(*(int(value) for value in self.position.accountOf(token_id)))

    # -------------------------------------------------------------------------------- positions

    def create(
        self,
        owner: Any = None,
        *,
        bps: int = NO_SMOOTHING,
        vault: Any = None,
        interval_minutes: int = 60,
    ) -> int:
        """Open a position without a deposit and return its token id."""
        receipt = self.adapter.createVault(
            1, bps, vault or self.vault, interval_minutes, sender=owner or self.owner
        )
        return int(receipt.return_value)

    def credit(self, token_id: int, amount: int) -> ReceiptAPI:
        """Pay yield in and credit it, as the adapter does."""
        self.fund(self.position, amount)
        return self.position.creditYield(token_id, amount, sender=self.as_adapter)

    def create_with_credit(self, amount: int, *, bps: int = NO_SMOOTHING, owner: Any = None) -> int:
        """Open a position that has earned ``amount``."""
        token_id = self.create(owner, bps=bps)
        self.credit(token_id, amount)
        return token_id

    def hold(
        self, token_id: int, amount: int, *, expires_in: int = 2 * HOUR, key_epoch: int = 0
    ) -> ReceiptAPI:
        """Place one hold."""
        request = (token_id, amount, self.now + expires_in, key_epoch)
        return self.position.hold([request], sender=self.settler)

    def settle(self, *items: tuple[int, int], batch: int | None = None) -> ReceiptAPI:
        """Settle ``(token id, cost)`` items in a new batch."""
        batch_id = next(iter(self._batches)) if batch is None else batch
        return self.position.settle(batch_bytes(batch_id), ROOT, list(items), sender=self.settler)

    # ----------------------------------------------------------------------------------- vaults

    @staticmethod
    def misbehaviour(*names: str) -> int:
        """Return the flag of what ``MockVault`` shall do wrong."""
        return sum(1 << MISBEHAVIOURS.index(name) for name in names)

    def deploy_vault(self) -> ContractInstance:
        """Deploy one more vault."""
        return self.admin.deploy(self.project.MockVault, self.usdc)

    def booked(self, token_id: int) -> Position:
        """Read ``positionOf``."""
        return Position(*self.adapter.positionOf(token_id))

    def deposit(
        self, token_id: int, assets: int, *, min_shares: int = 0, owner: Any = None
    ) -> ReceiptAPI:
        """Fund the owner, approve and deposit."""
        sender = owner or self.owner
        self.fund(sender, assets)
        self.usdc.approve(self.adapter, assets, sender=sender)
        return self.adapter.deposit(token_id, assets, min_shares, sender=sender)

    def create_with_deposit(self, assets: int, *, vault: Any = None, owner: Any = None) -> int:
        """Open a position with principal."""
        token_id = self.create(owner, vault=vault)
        self.deposit(token_id, assets, owner=owner)
        return token_id


def batch_bytes(number: int) -> bytes:
    """Return a batch number as its id."""
    return number.to_bytes(32, "big")


def returned(receipt: ReceiptAPI) -> int:
    """Return what a transaction's function answered, one integer."""
    return int(receipt.return_value)
