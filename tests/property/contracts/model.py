"""What the contracts promise, told from the specification: diaries and measured balances.

Nothing here packs words or keeps a running cap. An account is a diary of what happened when, and
every figure is derived from it; an adapter's booking is what its owner put in and what came out; a
vault is the ERC-4626 formulas with the rounding the standard asks for. A call that must revert
raises ``Refused`` before anything is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, NamedTuple

DAY: Final = 86_400
HOUR: Final = 3_600
YEAR: Final = 365 * DAY
BPS: Final = 10_000
LONGEST_HOLD_S: Final = 25 * HOUR
MIN_HARVEST: Final = 10_000
LEAST_GIFT: Final = 10_000
LEAST_WORTH_BPS: Final = 9_950
"""Of what was paid, where the owner did not send the deposit."""
SLACK: Final = 2
MOST_USDC: Final = 2**63 - 1
MOST_SHARES: Final = 2**192 - 1
EVERYTHING: Final = 2**256 - 1

ADAPTER: Final = "adapter"
POSITION: Final = "position"
TREASURY: Final = "treasury"
BLACK_HOLE: Final = "black_hole"
NOBODY: Final = "nobody"
"""The zero address."""


class Refused(Exception):
    """The specification wants this call to revert."""


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

    @property
    def unspent(self) -> int:
        """Credit that was neither spent nor taken out."""
        return self.credited - self.spent - self.withdrawn


class Hold(NamedTuple):
    """One placement that a settler asks for."""

    token_id: int
    amount: int
    expires_at: int
    key_epoch: int


class Permit(NamedTuple):
    """What an EIP-2612 permit for the adapter says, and who signed it."""

    signer: str
    owner: str
    value: int
    nonce: int
    deadline: int


class Authorization(NamedTuple):
    """What an EIP-3009 authorization for the adapter says, and who signed it."""

    signer: str
    owner: str
    value: int
    valid_after: int
    valid_before: int
    purpose: tuple[int | str, ...]
    """The arguments that its nonce is the hash of, the salt last."""


def refuse_unless(condition: bool, why: str) -> None:
    """Raise ``Refused`` when a condition of a call is not met."""
    if not condition:
        raise Refused(why)


# ------------------------------------------------------------------------------------- money


@dataclass
class Usdc:
    """USDC: balances, a pause, a blacklist, and what its holders granted the adapter."""

    balances: dict[str, int] = field(default_factory=dict)
    paused: bool = False
    blacklist: set[str] = field(default_factory=set)
    allowances: dict[str, int] = field(default_factory=dict)
    nonces: dict[str, int] = field(default_factory=dict)
    used: set[tuple[str, tuple[int | str, ...]]] = field(default_factory=set)

    def balance(self, of: str) -> int:
        return self.balances.get(of, 0)

    def allowance(self, of: str) -> int:
        return self.allowances.get(of, 0)

    def can_move(self, *parties: str) -> bool:
        return not self.paused and not self.blacklist.intersection(parties)

    def mint(self, to: str, amount: int) -> None:
        self.balances[to] = self.balance(to) + amount

    def approve(self, owner: str, amount: int) -> None:
        refuse_unless(self.can_move(owner, ADAPTER), "usdc")
        self.allowances[owner] = amount

    def permit(self, owner: str, value: int, deadline: int, signed: Permit, *, at: int) -> None:
        """Grant what was signed: every word of it as presented, once, and in time."""
        nonce = self.nonces.get(owner, 0)
        refuse_unless(signed == Permit(owner, owner, value, nonce, deadline), "signature")
        refuse_unless(at <= deadline, "permit expired")
        self.nonces[owner] = nonce + 1
        self.allowances[owner] = value

    def authorize(self, presented: Authorization, signed: Authorization, *, at: int) -> None:
        """Use an authorization: every word of it as presented, once, and between its times."""
        refuse_unless(signed == presented and signed.signer == signed.owner, "signature")
        refuse_unless(presented.valid_after < at < presented.valid_before, "validity")
        use = (presented.owner, presented.purpose)
        refuse_unless(use not in self.used, "used before")
        self.used.add(use)

    def spend_allowance(self, owner: str, amount: int) -> None:
        """Take a pull of the adapter from what it was granted; the endless grant stays."""
        refuse_unless(amount <= self.allowance(owner), "allowance")
        if self.allowance(owner) < EVERYTHING:
            self.allowances[owner] -= amount

    def move(self, sender: str, to: str, amount: int) -> None:
        """Move what the caller has checked can be moved."""
        assert 0 <= amount <= self.balance(sender)
        self.balances[sender] = self.balance(sender) - amount
        self.mint(to, amount)


@dataclass
class Vault:
    """An honest ERC-4626 vault with one virtual share and asset, simple interest and fees."""

    name: str
    usdc: Usdc
    apy_bps: int
    entry_fee_bps: int
    exit_fee_bps: int
    accrued_at: int = 0
    liquidity: int = EVERYTHING
    shares: dict[str, int] = field(default_factory=dict)

    @property
    def supply(self) -> int:
        return sum(self.shares.values())

    def interest(self, now: int) -> int:
        elapsed = now - self.accrued_at
        return self.usdc.balance(self.name) * self.apy_bps * elapsed // (BPS * YEAR)

    def total_assets(self, now: int) -> int:
        return self.usdc.balance(self.name) + self.interest(now)

    def to_shares(self, assets: int, now: int) -> int:
        return assets * (self.supply + 1) // (self.total_assets(now) + 1)

    def to_assets(self, shares: int, now: int) -> int:
        return shares * (self.total_assets(now) + 1) // (self.supply + 1)

    def preview_deposit(self, assets: int, now: int) -> int:
        return self.to_shares(assets * (BPS - self.entry_fee_bps) // BPS, now)

    def preview_redeem(self, shares: int, now: int) -> int:
        return self.to_assets(shares, now) * (BPS - self.exit_fee_bps) // BPS

    def worth_after(self, assets: int, shares: int, now: int) -> int:
        """Return what ``shares`` can be redeemed for, once ``assets`` were paid in for them."""
        gross = shares * (self.total_assets(now) + assets + 1) // (self.supply + shares + 1)
        return gross * (BPS - self.exit_fee_bps) // BPS

    def preview_withdraw(self, assets: int, now: int) -> int:
        """Return the shares, rounded up twice: what is left behind favours who stays."""
        gross = -(-assets * BPS // (BPS - self.exit_fee_bps))
        return -(-gross * (self.supply + 1) // (self.total_assets(now) + 1))

    def accrue(self, now: int) -> None:
        self.usdc.mint(self.name, self.interest(now))
        self.accrued_at = now

    def move_shares(self, sender: str, to: str, amount: int) -> None:
        assert amount <= self.shares.get(sender, 0)
        self.shares[sender] -= amount
        self.shares[to] = self.shares.get(to, 0) + amount


# ------------------------------------------------------------------------------------- accounts


@dataclass
class Diary:
    """The allowance of one position: who gave and took what, and when."""

    bps: int
    credits: list[tuple[int, int]] = field(default_factory=list)
    spendings: list[tuple[int, int]] = field(default_factory=list)
    withdrawals: list[tuple[int, int]] = field(default_factory=list)
    promised: int = 0
    promised_until: int = 0
    key_epoch: int = 0

    def held(self, now: int) -> int:
        """Return the live promise: nothing from its expiry on."""
        return self.promised if now < self.promised_until else 0

    def unspent(self, before: int = EVERYTHING) -> int:
        def total(entries: list[tuple[int, int]]) -> int:
            return sum(amount for at, amount in entries if at < before)

        return total(self.credits) - total(self.spendings) - total(self.withdrawals)

    def fair_cap(self, now: int) -> int:
        """Return (opening + credited today) x smoothing, rounded down: for the days to come."""
        midnight = now - now % DAY
        credited_today = sum(amount for at, amount in self.credits if at >= midnight)
        return (self.unspent(before=midnight) + credited_today) * self.bps // BPS

    def day_spent(self, now: int) -> int:
        return sum(amount for at, amount in self.spendings if at >= now - now % DAY)

    def grantable(self, now: int) -> int:
        """Return the largest hold: what the day allows, or what is promised where that is more."""
        fair = min(self.unspent(), self.fair_cap(now) - self.day_spent(now))
        return max(self.held(now), fair)

    def promise(self, amount: int, until: int, key_epoch: int, *, at: int) -> None:
        """Take in a placement: one for another epoch neither opens anything nor takes it back."""
        if key_epoch == self.key_epoch:
            granted = min(amount, self.grantable(at))
        else:
            granted, until = min(amount, self.held(at)), min(until, self.promised_until)
        self.promised, self.promised_until = granted, until if granted > 0 else 0

    def free(self, now: int) -> int:
        """Return what the owner can take out."""
        return self.unspent() - self.held(now)

    def account(self, now: int) -> Account:
        held = self.held(now)
        return Account(
            credited=sum(amount for _, amount in self.credits),
            spent=sum(amount for _, amount in self.spendings),
            withdrawn=sum(amount for _, amount in self.withdrawals),
            held=held,
            hold_expires_at=self.promised_until if now < self.promised_until else 0,
            day_cap=max(self.fair_cap(now), self.day_spent(now) + held),
            day_spent=self.day_spent(now),
            key_epoch=self.key_epoch,
        )

    def remaining(self, now: int) -> int:
        """Return what may still be spent today, what is promised included."""
        account = self.account(now)
        return min(account.unspent, account.day_cap - account.day_spent)


@dataclass
class Stake:
    """One position at the adapter: what was paid in and not paid back, and the shares for it."""

    owner: str
    vault: Vault
    interval_minutes: int
    last_harvest_at: int
    principal: int = 0
    shares: int = 0

    def surplus(self, now: int) -> int:
        """Return the shares that neither the principal nor the two units above it need."""
        if self.principal == 0 or self.shares == 0:
            return self.shares
        return max(0, self.shares - self.vault.preview_withdraw(self.principal + SLACK, now))

    def pending_yield(self, now: int) -> int:
        return self.vault.preview_redeem(self.surplus(now), now)

    def principal_value(self, now: int) -> int:
        return min(self.principal, self.vault.preview_redeem(self.shares, now))


# ------------------------------------------------------------------------------------- the whole

OWNED: Final = (POSITION, TREASURY)
"""The contracts that have an admin."""


@dataclass
class Model:
    """All contracts. ``now`` is the newest block's time; calls name the block they land in."""

    now: int
    usdc: Usdc
    vaults: list[Vault]
    stakes: list[Stake] = field(default_factory=list)
    diaries: list[Diary] = field(default_factory=list)
    owed: int = 0
    batches: set[int] = field(default_factory=set)
    paid_batches: set[int] = field(default_factory=set)
    claims: dict[str, int] = field(default_factory=dict)
    donated_to_adapter: int = 0
    givers: tuple[str, ...] = ()
    settlers: set[str] = field(default_factory=lambda: {"keeper"})
    payers: set[str] = field(default_factory=lambda: {"payer"})
    admins: dict[str, str] = field(default_factory=lambda: dict.fromkeys(OWNED, "admin"))
    heirs: dict[str, str] = field(default_factory=lambda: dict.fromkeys(OWNED, NOBODY))

    @property
    def liabilities(self) -> int:
        return sum(diary.unspent() for diary in self.diaries) + self.owed

    def owned(self, sender: str, token_id: int) -> Stake:
        """Return a position that only its owner may touch."""
        refuse_unless(token_id < len(self.stakes), "unknown position")
        stake = self.stakes[token_id]
        refuse_unless(stake.owner == sender, "not owner")
        return stake

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """Take back what a refused call granted or opened before it was refused."""
        usdc, opened = self.usdc, len(self.stakes)
        granted = dict(usdc.allowances), dict(usdc.nonces), set(usdc.used)
        try:
            yield
        except Refused:
            usdc.allowances, usdc.nonces, usdc.used = granted
            del self.stakes[opened:], self.diaries[opened:]
            raise

    # ------------------------------------------------------------------------------ the adapter

    def create(self, sender: str, *, bps: int, vault: Vault, interval: int, at: int) -> None:
        refuse_unless(30 <= interval <= 360, "interval")
        refuse_unless(1 <= bps <= BPS, "smoothing")
        self.stakes.append(Stake(sender, vault, interval, last_harvest_at=at))
        self.diaries.append(Diary(bps))

    @staticmethod
    def refuse_as_owner(owner: str) -> None:
        """Refuse to give a position to what could never take anything out."""
        refuse_unless(owner not in (NOBODY, "usdc", POSITION, ADAPTER), "owner")

    def set_interval(self, sender: str, token_id: int, minutes: int) -> None:
        stake = self.owned(sender, token_id)
        refuse_unless(30 <= minutes <= 360, "interval")
        stake.interval_minutes = minutes

    def deposit(
        self, sender: str, token_id: int, assets: int, *, min_shares: int = 0, at: int
    ) -> None:
        """Deposit by an approval, into a position of one's own."""
        stake = self.owned(sender, token_id)
        self._invest(stake, sender, assets, min_shares=min_shares, at=at)

    def give_deposit(
        self, giver: str, token_id: int, assets: int, *, min_shares: int = 0, at: int
    ) -> None:
        """Deposit by an approval, into anybody's position: it is worth what was paid, or nearly."""
        refuse_unless(token_id < len(self.stakes), "unknown position")
        stake = self.stakes[token_id]
        is_own = stake.owner == giver
        self._invest(stake, giver, assets, min_shares=min_shares, at=at, at_any_worth=is_own)

    def deposit_signed(
        self, sender: str, token_id: int, assets: int, *, min_shares: int = 0, at: int
    ) -> None:
        """Deposit by the owner's authorization, which the caller has checked, whoever sends it."""
        stake = self.stakes[token_id]
        self._invest(
            stake,
            stake.owner,
            assets,
            min_shares=min_shares,
            at=at,
            at_any_worth=stake.owner == sender,
            is_authorized=True,
        )

    def _invest(
        self,
        stake: Stake,
        payer: str,
        assets: int,
        *,
        min_shares: int,
        at: int,
        at_any_worth: bool = True,
        is_authorized: bool = False,
    ) -> None:
        vault = stake.vault
        refuse_unless(0 < assets <= MOST_USDC - stake.principal, "amount")
        refuse_unless(assets <= self.usdc.balance(payer), "balance")
        refuse_unless(self.usdc.can_move(payer, ADAPTER, vault.name), "usdc")
        shares = vault.preview_deposit(assets, at)
        refuse_unless(0 < shares <= MOST_SHARES - stake.shares, "shares")
        refuse_unless(shares >= min_shares, "too few shares")
        worth = vault.worth_after(assets, shares, at)
        is_worth_it = worth * BPS >= assets * LEAST_WORTH_BPS
        refuse_unless(at_any_worth or is_worth_it, "worth too little")
        if not is_authorized:
            self.usdc.spend_allowance(payer, assets)
        vault.accrue(at)
        self.usdc.move(payer, vault.name, assets)
        vault.shares[ADAPTER] = vault.shares.get(ADAPTER, 0) + shares
        stake.principal += assets
        stake.shares += shares

    def permit(self, owner: str, value: int, deadline: int, signed: Permit, *, at: int) -> None:
        """Use a permit within a deposit: that it fails is no matter while the grant is there."""
        try:
            self.usdc.permit(owner, value, deadline, signed, at=at)
        except Refused:
            refuse_unless(value <= self.usdc.allowance(owner), "permit refused")

    def withdraw(self, sender: str, token_id: int, assets: int, least: int, *, at: int) -> None:
        stake = self.owned(sender, token_id)
        vault = stake.vault
        wanted = min(assets, stake.principal)
        refuse_unless(wanted > 0, "no principal")
        paid, burned = self._payable(stake, wanted, at)
        refuse_unless(paid > 0, "vault pays nothing")
        refuse_unless(paid >= least, "too little")
        refuse_unless(self.usdc.can_move(vault.name, ADAPTER, sender), "usdc")
        assert burned <= stake.shares
        self._leave(stake, to=sender, paid=paid, burned=burned, at=at)
        stake.principal = max(0, stake.principal - paid) if stake.shares > 0 else 0

    @staticmethod
    def _payable(stake: Stake, wanted: int, at: int) -> tuple[int, int]:
        """Ask for all of it, else for what is there, and never with another position's shares."""
        vault = stake.vault
        paid = wanted
        if vault.preview_withdraw(wanted, at) > stake.shares:
            worth = vault.preview_redeem(stake.shares, at)
            if worth <= vault.liquidity:
                return worth, stake.shares
            paid = min(wanted, vault.liquidity)
        if paid > vault.liquidity:
            everybody = vault.preview_redeem(vault.shares[ADAPTER], at)
            paid = min(vault.liquidity, everybody)
        return paid, vault.preview_withdraw(paid, at)

    def harvest(self, token_id: int, *, at: int) -> None:
        refuse_unless(token_id < len(self.stakes), "unknown position")
        stake = self.stakes[token_id]
        surplus = stake.surplus(at)
        gain = stake.vault.preview_redeem(surplus, at)
        if surplus == 0 or gain < MIN_HARVEST:
            return
        refuse_unless(gain <= stake.vault.liquidity, "liquidity")
        refuse_unless(self.usdc.can_move(stake.vault.name, ADAPTER, POSITION), "usdc")
        self._leave(stake, to=POSITION, paid=gain, burned=surplus, at=at)
        stake.last_harvest_at = at
        self.diaries[token_id].credits.append((at, gain))

    def _leave(self, stake: Stake, *, to: str, paid: int, burned: int, at: int) -> None:
        vault = stake.vault
        vault.accrue(at)
        self.usdc.move(vault.name, to, paid)
        vault.shares[ADAPTER] -= burned
        stake.shares -= burned

    def exit_in_kind(self, sender: str, token_id: int) -> None:
        stake = self.owned(sender, token_id)
        refuse_unless(stake.shares > 0, "no shares")
        stake.vault.move_shares(ADAPTER, sender, stake.shares)
        stake.principal = stake.shares = 0

    # ----------------------------------------------------------------------------- the position

    def give_credit(self, giver: str, token_id: int, amount: int, *, at: int) -> None:
        """Pay into anybody's allowance; ``givers`` have granted the position all that they have."""
        refuse_unless(token_id < len(self.diaries), "unknown token")
        diary = self.diaries[token_id]
        credited = diary.account(at).credited
        refuse_unless(LEAST_GIFT <= amount <= MOST_USDC - credited, "amount")
        refuse_unless(giver in self.givers and amount <= self.usdc.balance(giver), "balance")
        refuse_unless(self.usdc.can_move(giver, POSITION), "usdc")
        self.usdc.move(giver, POSITION, amount)
        diary.credits.append((at, amount))

    def hold(self, sender: str, holds: Sequence[Hold], *, at: int) -> None:
        refuse_unless(sender in self.settlers, "not settler")
        for hold in holds:
            refuse_unless(hold.token_id < len(self.diaries), "unknown token")
            if hold.amount > 0:
                refuse_unless(at < hold.expires_at <= at + LONGEST_HOLD_S, "expiry")
        for hold in holds:
            diary = self.diaries[hold.token_id]
            diary.promise(hold.amount, hold.expires_at, hold.key_epoch, at=at)

    def settle(self, sender: str, batch: int, items: Sequence[tuple[int, int]], *, at: int) -> None:
        refuse_unless(sender in self.settlers, "not settler")
        refuse_unless(batch not in self.batches, "settled before")
        left: dict[int, int] = {}
        for token_id, cost in items:
            refuse_unless(token_id < len(self.diaries), "unknown token")
            left.setdefault(token_id, self.diaries[token_id].held(at))
            refuse_unless(cost <= left[token_id], "above hold")
            left[token_id] -= cost
        for token_id, cost in items:
            self.diaries[token_id].spendings.append((at, cost))
            # A hold that has lapsed is worth nothing, whatever was promised once.
            if self.diaries[token_id].held(at) > 0:
                self.diaries[token_id].promised -= cost
            self.owed += cost
        self.batches.add(batch)

    def sweep(self) -> None:
        if self.owed == 0:
            return
        refuse_unless(self.usdc.can_move(POSITION, TREASURY), "usdc")
        self.usdc.move(POSITION, TREASURY, self.owed)
        self.owed = 0

    def withdraw_unspent(self, sender: str, token_id: int, *, at: int) -> None:
        self.owned(sender, token_id)
        diary = self.diaries[token_id]
        assets = diary.free(at)
        refuse_unless(assets > 0, "nothing")
        refuse_unless(self.usdc.can_move(POSITION, sender), "usdc")
        self.usdc.move(POSITION, sender, assets)
        diary.withdrawals.append((at, assets))

    def bump_key_epoch(self, sender: str, token_id: int) -> None:
        self.owned(sender, token_id)
        self.diaries[token_id].key_epoch += 1

    # ------------------------------------------------------------------------------ the payouts

    @property
    def available(self) -> int:
        """What the treasury holds and owes to nobody."""
        return self.usdc.balance(TREASURY) - sum(self.claims.values())

    def pay(self, sender: str, batch: int, items: Sequence[tuple[str, int]]) -> None:
        refuse_unless(sender in self.payers, "not payer")
        refuse_unless(batch not in self.paid_batches, "paid before")
        refuse_unless(sum(amount for _, amount in items) <= self.available, "not covered")
        refuse_unless(not self.usdc.paused, "paused")
        no_payees = (NOBODY, "usdc", POSITION, ADAPTER, TREASURY)
        refuse_unless(all(payee not in no_payees for payee, _ in items), "payee")
        for payee, amount in items:
            if self.usdc.can_move(TREASURY, payee):
                self.usdc.move(TREASURY, payee, amount)
            else:
                self.claims[payee] = self.claims.get(payee, 0) + amount
        self.paid_batches.add(batch)

    def claim(self, sender: str, to: str) -> None:
        amount = self.claims.get(sender, 0)
        refuse_unless(amount > 0, "nothing to claim")
        refuse_unless(self.usdc.can_move(TREASURY, to), "usdc")
        self.claims[sender] = 0
        self.usdc.move(TREASURY, to, amount)

    def withdraw_margin(self, sender: str, amount: int) -> None:
        self.check_admin(sender, TREASURY)
        refuse_unless(amount <= self.available, "above available")
        refuse_unless(self.usdc.can_move(TREASURY, "admin"), "usdc")
        self.usdc.move(TREASURY, "admin", amount)

    # ---------------------------------------------------------------------------------- the roles

    def check_admin(self, sender: str, contract: str) -> None:
        refuse_unless(sender == self.admins[contract], "not admin")

    def set_role(self, sender: str, contract: str, who: str, allowed: bool) -> None:
        """Name or dismiss a settler or a payer."""
        self.check_admin(sender, contract)
        holders = self.settlers if contract == POSITION else self.payers
        (holders.add if allowed else holders.discard)(who)

    def offer_ownership(self, sender: str, contract: str, to: str) -> None:
        self.check_admin(sender, contract)
        self.heirs[contract] = to

    def accept_ownership(self, sender: str, contract: str) -> None:
        refuse_unless(sender == self.heirs[contract], "not offered")
        self.admins[contract], self.heirs[contract] = sender, NOBODY
