"""``MixedMachine``: everything a position can meet with honest vaults.

Beside holds and principal: openings, deposits by signature, vaults that lose or lack money, a USDC
that pauses or blacklists, payouts, and keepers, payers and admins that are replaced.
"""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.property.contracts.giving import GivingMachine
from tests.property.contracts.hold import amounts, batches, callers, resolve, tokens
from tests.property.contracts.model import (
    ADAPTER,
    BLACK_HOLE,
    EVERYTHING,
    NOBODY,
    OWNED,
    POSITION,
    TREASURY,
    Refused,
)
from tests.property.contracts.stage import MAX_TOKENS, OWNERS, VAULTS

payees = st.sampled_from([*OWNERS * 4, POSITION, ADAPTER, TREASURY, NOBODY])
admins = st.sampled_from(["its admin"] * 6 + ["admin", "payer", "keeper"])


class MixedMachine(GivingMachine):
    """Everything a position can meet with honest vaults and a USDC that is not always there."""

    # ----------------------------------------------------------------------------------- opening

    @precondition(lambda self: len(self.model.stakes) < MAX_TOKENS)
    @rule(
        sender=st.sampled_from(OWNERS),
        bps=st.sampled_from([1, 3_333, 10_000, 0, 10_001]),
        vault=st.integers(0, len(VAULTS) - 1),
        interval=st.sampled_from([30, 360, 29, 361]),
        assets=st.one_of(st.none(), st.integers(0, 10**9)),
    )
    def open(self, sender: str, bps: int, vault: int, interval: int, assets: int | None) -> None:
        chosen = self.model.vaults[vault]

        def expect(at: int) -> None:
            with self.model.atomic():
                self.model.create(sender, bps=bps, vault=chosen, interval=interval, at=at)
                if assets is not None:
                    self.model.deposit(sender, len(self.model.stakes) - 1, assets, at=at)

        given = (1, bps, chosen.name, interval)
        if assets is None:
            self.call(expect, sender, ADAPTER, "createVault", *given)
        else:
            self.call(expect, sender, ADAPTER, "open", *given, assets, 0)

    @rule(drawn=tokens, who=callers, minutes=st.sampled_from([30, 360, 29, 361, 0]))
    def set_interval(self, drawn: int, who: str, minutes: int) -> None:
        token_id = self.token(drawn)
        sender = self.caller(who, token_id)
        self.call(
            lambda _: self.model.set_interval(sender, token_id, minutes),
            sender,
            ADAPTER,
            "setHarvestInterval",
            token_id,
            minutes,
        )

    # ------------------------------------------------------------------------------------ vaults

    @rule(index=st.integers(0, len(VAULTS) - 1), assets=st.integers(1, 10**7))
    def earn(self, index: int, assets: int) -> None:
        self.push(index, assets)

    @rule(index=st.integers(0, len(VAULTS) - 1), percent=st.sampled_from([0, 1, 50, 99, 100]))
    def lose(self, index: int, percent: int) -> None:
        vault = self.model.vaults[index]
        usdc = self.model.usdc
        assets = usdc.balance(vault.name) * percent // 100

        def expect(at: int) -> None:
            if not usdc.can_move(vault.name):
                raise Refused("usdc")
            vault.accrue(at)
            usdc.move(vault.name, BLACK_HOLE, assets)

        self.suffering = self.call(expect, "outsider", vault.name, "realiseLoss", assets)

    @rule(
        index=st.integers(0, len(VAULTS) - 1),
        limit=st.sampled_from([0, 1, 9_999, 400_000_000, 999_999_999]),
    )
    def set_liquidity(self, index: int, limit: int) -> None:
        self._set_liquidity(index, limit)

    def _set_liquidity(self, index: int, limit: int) -> None:
        vault = self.model.vaults[index]

        def expect(_: int) -> None:
            vault.liquidity = limit

        self.call(expect, "outsider", vault.name, "setLiquidity", limit)

    # -------------------------------------------------------------------------------------- USDC

    @precondition(lambda self: not self.model.usdc.paused)
    @rule(luck=st.integers(0, 3))
    def pause(self, luck: int) -> None:
        if luck == 0:
            self._set_paused(True)

    @precondition(lambda self: self.in_trouble())
    @rule()
    def recover(self) -> None:
        """USDC, the vaults and the operator's accounts serve everybody again."""
        for contract, who in ((POSITION, "keeper"), (TREASURY, "payer")):
            if not self.has_role(contract, who):
                self._set_role(self.model.admins[contract], contract, who, True)
        if self.model.usdc.paused:
            self._set_paused(False)
        for name in sorted(self.model.usdc.blacklist):
            self._blacklist(name)
        for index, vault in enumerate(self.model.vaults):
            if vault.liquidity != EVERYTHING:
                self._set_liquidity(index, EVERYTHING)

    def in_trouble(self) -> bool:
        usdc = self.model.usdc
        illiquid = any(vault.liquidity != EVERYTHING for vault in self.model.vaults)
        dismissed = not (self.has_role(POSITION, "keeper") and self.has_role(TREASURY, "payer"))
        return usdc.paused or bool(usdc.blacklist) or illiquid or dismissed

    def _set_paused(self, paused: bool) -> None:
        def expect(_: int) -> None:
            self.model.usdc.paused = paused

        self.call(expect, "admin", "usdc", "pause" if paused else "unpause")

    @rule(name=st.sampled_from([POSITION, ADAPTER, TREASURY, "vault1", *OWNERS]))
    def blacklist(self, name: str) -> None:
        """Refuse an account, or accept it again."""
        self._blacklist(name)

    def _blacklist(self, name: str) -> None:
        refused = self.model.usdc.blacklist
        self.call(
            lambda _: refused.symmetric_difference_update({name}),
            "admin",
            "usdc",
            "blacklist",
            name,
            name not in refused,
        )

    @rule(to=st.sampled_from([POSITION, ADAPTER]), amount=st.integers(1, 10**7))
    def donate(self, to: str, amount: int) -> None:
        def expect(_: int) -> None:
            self.model.usdc.mint(to, amount)
            if to == ADAPTER:
                self.model.donated_to_adapter += amount

        self.call(expect, "outsider", "usdc", "faucet", to, amount)

    # ----------------------------------------------------------------------------------- payouts

    @rule(
        sender=st.sampled_from(["payer", "payer", "payer", "keeper", "outsider"]),
        items=st.lists(st.tuples(payees, amounts), max_size=2),
        batch=batches,
    )
    def pay(self, sender: str, items: list[tuple[str, int | str]], batch: int | None) -> None:
        available = self.model.available
        priced = [(payee, resolve(amount, available)) for payee, amount in items]
        if sum(amount for _, amount in priced) > EVERYTHING:
            return
        if batch is None:
            self.next_batch += 1
            batch = self.next_batch
        self.call(
            lambda _: self.model.pay(sender, batch, priced),
            sender,
            TREASURY,
            "pay",
            batch.to_bytes(32),
            [payee for payee, _ in priced],
            [amount for _, amount in priced],
        )

    @precondition(lambda self: self.model.paid_batches)
    @rule(luck=st.integers(0, 2**16))
    def pay_again(self, luck: int) -> None:
        used = sorted(self.model.paid_batches)
        self.pay("payer", [], used[luck % len(used)])

    @rule(sender=st.sampled_from(OWNERS), to=st.sampled_from([*OWNERS, "outsider"]))
    def claim(self, sender: str, to: str) -> None:
        self.call(lambda _: self.model.claim(sender, to), sender, TREASURY, "claim", to)

    @rule(who=admins, amount=amounts)
    def withdraw_margin(self, who: str, amount: int | str) -> None:
        sender = self.admin(who, TREASURY)
        asked = resolve(amount, self.model.available)
        self.call(
            lambda _: self.model.withdraw_margin(sender, asked),
            sender,
            TREASURY,
            "withdraw",
            "admin",
            asked,
        )

    # ------------------------------------------------------------------------------------- roles

    def admin(self, drawn: str, contract: str) -> str:
        return self.model.admins[contract] if drawn == "its admin" else drawn

    def has_role(self, contract: str, who: str) -> bool:
        return who in (self.model.settlers if contract == POSITION else self.model.payers)

    @rule(
        who=admins,
        contract=st.sampled_from(OWNED),
        holder=st.sampled_from(["keeper", "payer", "outsider"]),
        allowed=st.sampled_from([True, False]),
    )
    def set_role(self, who: str, contract: str, holder: str, allowed: bool) -> None:
        self._set_role(self.admin(who, contract), contract, holder, allowed)

    def _set_role(self, sender: str, contract: str, holder: str, allowed: bool) -> None:
        self.call(
            lambda _: self.model.set_role(sender, contract, holder, allowed),
            sender,
            contract,
            "setSettler" if contract == POSITION else "setPayer",
            holder,
            allowed,
        )

    @rule(
        who=admins,
        contract=st.sampled_from(OWNED),
        heir=st.sampled_from(["admin", "outsider", "keeper", NOBODY]),
    )
    def offer_ownership(self, who: str, contract: str, heir: str) -> None:
        sender = self.admin(who, contract)
        self.call(
            lambda _: self.model.offer_ownership(sender, contract, heir),
            sender,
            contract,
            "transferOwnership",
            heir,
        )

    @rule(contract=st.sampled_from(OWNED), who=st.sampled_from(["its heir", "admin", "outsider"]))
    def accept_ownership(self, contract: str, who: str) -> None:
        heir = self.model.heirs[contract]
        if who != "its heir":
            self._accept_ownership(contract, who)
        elif heir != NOBODY:
            self._accept_ownership(contract, heir)

    @rule(contract=st.sampled_from(OWNED), heir=st.sampled_from(["admin", "outsider"]))
    def hand_over(self, contract: str, heir: str) -> None:
        """Replace an admin in both steps."""
        self.offer_ownership("its admin", contract, heir)
        self._accept_ownership(contract, heir)

    def _accept_ownership(self, contract: str, sender: str) -> None:
        self.call(
            lambda _: self.model.accept_ownership(sender, contract),
            sender,
            contract,
            "acceptOwnership",
        )
