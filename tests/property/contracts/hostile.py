"""``HostileMachine``: honest positions beside others whose vault lies, steals and re-enters.

Three positions lie on a ``HostileVault``: an attacker's, the vault's own, and a victim's, who is an
honest owner too. A further one of the vault's own lies on an honest vault. What a call to the
hostile vault does to the position it names is measured, and must be consistent with itself; all
else stays as the model foresees it, to the unit: every other position, vault and balance.
"""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.property.contracts.hold import amounts, callers, resolve, tokens
from tests.property.contracts.model import (
    ADAPTER,
    EVERYTHING,
    MIN_HARVEST,
    MOST_SHARES,
    MOST_USDC,
    POSITION,
    Diary,
    Stake,
)
from tests.property.contracts.reentry import (
    MOST_CALLS,
    OWN_POSITION,
    ReentryMachine,
    flag,
    kinds,
    prices,
    refuse,
    sums,
)
from tests.property.contracts.stage import (
    ATTACKER,
    HOSTILE,
    ONE_SHARE,
    OWNERS,
    TokenView,
    View,
)

THEFTS: Final = ("BURNS_DOUBLE", "BURNS_ALL", "BURNS_NOTHING", "UNDERPAYS", "CRASHES_PRICE")
PREVIEW_LIES: Final = ("PREVIEWS_ZERO", "PREVIEWS_FREE_WITHDRAWALS")
MOST_POSITIONS: Final = 10

wholes = st.one_of(st.sampled_from(["all", "all but one", "one more", "half", 1]), sums)


class HostileMachine(ReentryMachine):
    """Everything a hostile vault and its friends can try."""

    def trapped(self, drawn: int) -> int:
        """Choose a position on the hostile vault."""
        there = [i for i, stake in enumerate(self.model.stakes) if stake.vault is self.vault]
        return there[drawn % len(there)]

    # -------------------------------------------------------------------------- positions on it

    @rule(drawn=tokens, who=callers, assets=wholes, floor=st.sampled_from([0, 0, 0, 1, 10**6]))
    def trust(self, drawn: int, who: str, assets: int | str, floor: int) -> None:
        """Deposit into the hostile vault."""
        token_id = self.trapped(drawn)
        sender = self.caller(who, token_id)
        self.invest(token_id, sender, resolve(assets, 10**9), floor)

    def invest(self, token_id: int, sender: str, assets: int, floor: int) -> None:
        stake = self.model.stakes[token_id]
        given = (token_id, assets, floor)
        if sender != stake.owner:
            self.call(refuse, sender, ADAPTER, "deposit", *given)
            return
        honestly = None if self.vault.kinds else self.honest_shares(stake, assets, floor)
        view = self.touch(sender, ADAPTER, "deposit", *given)
        if honestly is not None:
            assert (view is not None) == (honestly > 0)
        if view is not None:
            self.book_deposit(stake, view.tokens[token_id], view, assets, floor)
            self.fresh = view

    def honest_shares(self, stake: Stake, assets: int, floor: int) -> int:
        """Return what a deposit mints while the vault behaves; 0 for one that is refused."""
        usdc, price = self.model.usdc, self.vault.price
        if not 0 < assets <= min(usdc.balance(stake.owner), MOST_USDC - stake.principal):
            return 0
        if usdc.allowance(stake.owner) < assets or price == 0:
            return 0
        shares = assets * ONE_SHARE // price
        return shares if max(1, floor) <= shares <= MOST_SHARES - stake.shares else 0

    def book_deposit(
        self, stake: Stake, seen: TokenView, view: View, assets: int, floor: int
    ) -> None:
        """Hold a deposit to what came of it: shares that are there, principal that was paid."""
        usdc, owner = self.model.usdc, stake.owner
        pool = self.vault.shares[ADAPTER]
        lied = self.does("DOUBLES_BALANCES")
        usdc.spend_allowance(owner, assets)
        # The adapter has it while the vault is entered.
        usdc.balances[owner] -= assets
        self.swallow(self.reenter(self.model.now))
        lied = lied or self.does("DOUBLES_BALANCES")
        refunded = view.balances[owner] - usdc.balance(owner)
        self.measure(view, owner)

        minted = seen.booked[2] - stake.shares
        invested = seen.booked[1] - stake.principal
        assert minted >= max(1, floor)
        assert 0 <= invested <= assets
        if owner != HOSTILE:
            assert invested == assets - min(assets, refunded)
        self.doubted |= lied
        assert lied or minted == self.vault.shares[ADAPTER] - pool
        stake.principal, stake.shares = seen.booked[1], seen.booked[2]

    @rule(drawn=tokens, who=callers, amount=amounts, least=st.sampled_from([0, 0, 1, "wanted"]))
    def distrust(self, drawn: int, who: str, amount: int | str, least: int | str) -> None:
        """Withdraw principal from the hostile vault."""
        token_id = self.trapped(drawn)
        stake = self.model.stakes[token_id]
        assets = resolve(amount, stake.principal)
        floor = min(assets, stake.principal) if least == "wanted" else int(least)
        self.divest(token_id, self.caller(who, token_id), assets, floor)

    def divest(self, token_id: int, sender: str, assets: int, least: int) -> None:
        stake = self.model.stakes[token_id]
        wanted = min(assets, stake.principal)
        given = (token_id, assets, least)
        if sender != stake.owner or wanted == 0:
            self.call(refuse, sender, ADAPTER, "withdrawPrincipal", *given)
            return
        serves = not self.vault.kinds and self.can_pay(stake, wanted)
        view = self.touch(sender, ADAPTER, "withdrawPrincipal", *given)
        if serves:
            assert view is not None
            received = view.balances[sender] - self.model.usdc.balance(sender)
            assert sender == HOSTILE or received == wanted
        if view is not None:
            self.book_withdrawal(stake, view.tokens[token_id], view, least)
            self.fresh = view

    def can_pay(self, stake: Stake, wanted: int) -> bool:
        """Return whether a vault that behaves has both the shares and the USDC."""
        price = self.vault.price
        if not 0 < price <= 2**128:
            return False
        needed = -(-wanted * ONE_SHARE // price)
        covered = needed <= min(stake.shares, self.vault.shares[ADAPTER])
        return covered and wanted <= self.model.usdc.balance(HOSTILE)

    def book_withdrawal(self, stake: Stake, seen: TokenView, view: View, least: int) -> None:
        """Hold a withdrawal to what it paid, and to the position's own shares."""
        owner, pool = stake.owner, self.vault.shares[ADAPTER]
        lied = self.does("DOUBLES_BALANCES")
        self.swallow(self.reenter(self.model.now))
        lied = lied or self.does("DOUBLES_BALANCES")
        paid = view.balances[owner] - self.model.usdc.balance(owner)
        self.measure(view, owner)

        burned = stake.shares - seen.booked[2]
        assert burned >= 0
        if owner != HOSTILE:
            assert paid >= max(1, least)
            kept = max(0, stake.principal - paid)
            assert seen.booked[1] == (kept if seen.booked[2] else 0)
        assert seen.booked[1] <= stake.principal
        self.doubted |= lied
        assert lied or burned == max(0, pool - self.vault.shares[ADAPTER])
        stake.principal, stake.shares = seen.booked[1], seen.booked[2]

    @rule(drawn=tokens, sender=st.sampled_from([ATTACKER, HOSTILE, "outsider", *OWNERS]))
    def reap(self, drawn: int, sender: str) -> None:
        """Harvest from the hostile vault."""
        token_id = self.trapped(drawn)
        stake, diary = self.model.stakes[token_id], self.model.diaries[token_id]
        view = self.touch(sender, ADAPTER, "harvest", token_id)
        if view is not None:
            credited = diary.account(self.model.now).credited
            gain = view.tokens[token_id].account.credited - credited
            # Without a gain nothing may have changed at all.
            if gain != 0:
                self.book_harvest(stake, diary, view.tokens[token_id], view, gain)
            self.fresh = view

    @rule(
        drawn=tokens,
        name=st.one_of(st.just("REENTERS"), st.sampled_from(THEFTS)),
        percent=st.sampled_from([110, 110, 200]),
    )
    def ripen(self, drawn: int, name: str, percent: int) -> None:
        """Have much to harvest, and do that while the vault re-enters and perhaps steals."""
        stake = self.model.stakes[self.trapped(drawn)]
        self.set_kinds(flag("REENTERS", name))
        whole = ONE_SHARE * stake.principal // max(1, stake.shares)
        self.set_price(max(ONE_SHARE, whole) * percent // 100)
        self.reap(drawn, "outsider")

    def book_harvest(
        self, stake: Stake, diary: Diary, seen: TokenView, view: View, gain: int
    ) -> None:
        """Hold a harvest to what arrived, and to the shares the principal does not need."""
        pool, at = self.vault.shares[ADAPTER], self.model.now
        lied = self.does("DOUBLES_BALANCES")
        surplus = stake.shares
        if stake.principal and not self.does(*PREVIEW_LIES):
            surplus -= -(-stake.principal * ONE_SHARE // self.vault.price)
        before = diary.account(at).credited
        self.swallow(self.reenter(at))
        # A gift that the vault had made in the middle is credit, too, and none of the harvest.
        gain -= diary.account(at).credited - before
        assert gain * 10_000 >= MIN_HARVEST * 9_950
        lied = lied or self.does("DOUBLES_BALANCES")
        diary.credits.append((at, gain))
        self.model.usdc.mint(POSITION, gain)  # the vault's loss, as the sum of all shows
        self.measure(view)

        burned = stake.shares - seen.booked[2]
        assert 0 <= burned <= surplus
        assert seen.booked[1] == stake.principal
        self.doubted |= lied
        assert lied or burned == max(0, pool - self.vault.shares[ADAPTER])
        if stake.principal and not self.does(*PREVIEW_LIES):
            needed = -(-stake.principal * ONE_SHARE // self.vault.price)
            assert needed <= seen.booked[2], "A3"
        stake.shares, stake.last_harvest_at = seen.booked[2], at

    @rule(drawn=tokens, who=callers)
    def flee(self, drawn: int, who: str) -> None:
        """Exit in kind: nothing but the transfer itself can stand in the way."""
        token_id = self.trapped(drawn)
        stake = self.model.stakes[token_id]
        sender = self.caller(who, token_id)
        if sender != stake.owner or stake.shares == 0:
            self.call(refuse, sender, ADAPTER, "exitInKind", token_id)
            return
        free = not self.does("REFUSES_TRANSFER", "DENIES_TRANSFER", "REENTERS")
        free = free and stake.shares <= self.vault.shares[ADAPTER]
        view = self.touch(sender, ADAPTER, "exitInKind", token_id)
        assert view is not None or not free
        if view is not None:
            pool = self.vault.shares[ADAPTER]
            # Nothing is measured here: what arrives lies there as any gift.
            self.model.donated_to_adapter += self.reenter(self.model.now)
            self.measure(view)
            handed_over = pool - self.vault.shares[ADAPTER]
            assert handed_over == stake.shares or self.does("PRETENDS_TRANSFER")
            stake.principal = stake.shares = 0
            self.fresh = view

    @precondition(lambda self: len(self.model.stakes) < MOST_POSITIONS)
    @rule(owner=st.sampled_from([ATTACKER, HOSTILE, *OWNERS]), assets=sums)
    def open_on_it(self, owner: str, assets: int) -> None:
        """Open one more position on the hostile vault."""
        at = self.model.now + 1
        self.model.create(owner, bps=10_000, vault=self.vault, interval=30, at=at)
        opened = self.model.stakes.pop(), self.model.diaries.pop()
        ok, landed_at = self.stage.send(owner, ADAPTER, "open", 1, 10_000, HOSTILE, 30, assets, 0)
        assert landed_at == at
        self.model.now = at
        if ok:
            self.model.stakes.append(opened[0])
            self.model.diaries.append(opened[1])
            self.fresh = self.stage.look(self.model)
            self.book_deposit(opened[0], self.fresh.tokens[-1], self.fresh, assets, 0)

    @rule(
        names=kinds,
        drawn=tokens,
        operation=st.sampled_from(["invest", "divest", "divest", "reap", "reap", "flee"]),
        assets=sums,
        ratio=prices,
        which=st.integers(0, 5),
    )
    def strike(
        self,
        names: list[str],
        drawn: int,
        operation: str,
        assets: int,
        ratio: tuple[int, int],
        which: int,
    ) -> None:
        """Have something to steal, misbehave in the middle of one operation, and look innocent."""
        if len(self.plan) < MOST_CALLS // 2:
            self.plan_payment(which, assets, ADAPTER)
            self.plan_position_call(which, drawn, OWN_POSITION)
        token_id = self.trapped(drawn)
        owner = self.model.stakes[token_id].owner
        self.set_kinds(0)
        self.put_price(ONE_SHARE)
        self.invest(token_id, owner, assets, 0)
        self.move_price(ratio)
        self.set_kinds(flag(*names))
        if operation == "invest":
            self.invest(token_id, owner, assets, 0)
        elif operation == "divest":
            self.divest(token_id, owner, EVERYTHING, 0)
        elif operation == "reap":
            self.reap(drawn, ATTACKER)
        else:
            self.flee(drawn, "its owner")
        self.set_kinds(0)
        self.put_price(ONE_SHARE)

    # --------------------------------------------------------------------------- past the adapter

    @precondition(lambda self: not self.does("REENTERS"))
    @rule(
        function=st.sampled_from(["deposit", "redeem", "transfer"]),
        to=st.sampled_from([ATTACKER, ADAPTER]),
        amount=sums,
    )
    def deal_directly(self, function: str, to: str, amount: int) -> None:
        """Use the vault as any holder: give its shares or its USDC to the adapter, too."""
        amount = min(amount, self.vault.attacker_shares) if function != "deposit" else amount
        given: dict[str, tuple[int | str, ...]] = {
            "deposit": (amount, to),
            "redeem": (amount, to, ATTACKER),
            "transfer": (to, amount),
        }
        view = self.touch(ATTACKER, HOSTILE, function, *given[function])
        if view is not None:
            at_adapter = self.model.usdc.balance(ADAPTER)
            self.measure(view, ATTACKER)
            if function == "redeem" and to == ADAPTER:
                self.model.donated_to_adapter += view.balances[ADAPTER] - at_adapter
                self.model.usdc.balances[ADAPTER] = view.balances[ADAPTER]
            self.doubted |= function == "deposit" and self.does("BURNS_ON_DEPOSIT")
            self.fresh = view
