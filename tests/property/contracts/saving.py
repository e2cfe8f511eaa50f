"""``SavingMachine``: deposits, withdrawals, harvests and exits on honest vaults, beside holds."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.property.contracts.checks import fair_value
from tests.property.contracts.hold import HoldMachine, amounts, callers, resolve, tokens
from tests.property.contracts.model import ADAPTER, EVERYTHING
from tests.property.contracts.stage import OWNERS


class SavingMachine(HoldMachine):
    """What the owner of a position does with the principal, and anybody with its yield."""

    @rule(drawn=tokens, who=callers, amount=amounts, floor=st.sampled_from([None, None, 0, 1]))
    def deposit(self, drawn: int, who: str, amount: int | str, floor: int | None) -> None:
        token_id = self.saving(drawn)
        sender = self.caller(who, token_id)
        assets = resolve(amount, self.model.usdc.balance(sender))
        vault = self.model.stakes[token_id].vault
        least = 0
        if floor is not None and assets < 2**64:
            least = vault.preview_deposit(assets, self.model.now + 1) + floor
        self.call(
            lambda at: self.model.deposit(sender, token_id, assets, min_shares=least, at=at),
            sender,
            ADAPTER,
            "deposit",
            token_id,
            assets,
            least,
        )

    @rule(drawn=tokens, who=callers, amount=amounts, least=st.sampled_from([0, 0, 0, 1, "wanted"]))
    def withdraw(self, drawn: int, who: str, amount: int | str, least: int | str) -> None:
        token_id = self.saving(drawn)
        sender = self.caller(who, token_id)
        stake = self.model.stakes[token_id]
        assets = resolve(amount, stake.principal)
        wanted = min(assets, stake.principal)
        floor = wanted if least == "wanted" else int(least)
        # More than this is never lost to rounding (A4): one share up, one unit down.
        worth = min(wanted, fair_value(stake, self.model.now + 1))
        liquid = stake.vault.liquidity >= wanted
        before = self.model.usdc.balance(sender)
        ok = self.call(
            lambda at: self.model.withdraw(sender, token_id, assets, floor, at=at),
            sender,
            ADAPTER,
            "withdrawPrincipal",
            token_id,
            assets,
            floor,
        )
        if ok and liquid and stake.vault.exit_fee_bps == 0:
            assert self.model.usdc.balance(sender) - before >= worth - 2

    @rule(drawn=tokens, assets=st.integers(1, 10**9))
    def deposit_well(self, drawn: int, assets: int) -> None:
        owner = self.model.stakes[self.saving(drawn)].owner
        if self.model.usdc.allowance(owner) < assets:
            self.approve(owner, EVERYTHING)
        self.deposit(drawn, "its owner", assets, None)

    def approve(self, owner: str, amount: int) -> None:
        """Grant the adapter USDC."""
        self.call(
            lambda _: self.model.usdc.approve(owner, amount),
            owner,
            "usdc",
            "approve",
            ADAPTER,
            amount,
        )

    @rule(drawn=tokens, assets=st.integers(1, 10**9))
    def withdraw_well(self, drawn: int, assets: int) -> None:
        self.withdraw(drawn, "its owner", assets, 0)

    @rule(drawn=tokens, assets=st.integers(1, 10**9))
    def there_and_back(self, drawn: int, assets: int) -> None:
        """Just deposited, the principal needs more shares than were minted."""
        self.deposit_well(drawn, assets)
        self.withdraw(drawn, "its owner", "all", 0)

    @rule(drawn=tokens, who=callers)
    def exit_in_kind(self, drawn: int, who: str) -> None:
        token_id = self.saving(drawn)
        sender = self.caller(who, token_id)
        self.call(
            lambda _: self.model.exit_in_kind(sender, token_id),
            sender,
            ADAPTER,
            "exitInKind",
            token_id,
        )

    @rule(drawn=tokens, sender=st.sampled_from(["outsider", "keeper", *OWNERS]))
    def harvest_now(self, drawn: int, sender: str) -> None:
        self.harvest(self.saving(drawn), sender)
