"""``GivingMachine``: what anybody pays for others: credit, deposits, whole positions."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.property.contracts.hold import amounts, resolve, tokens
from tests.property.contracts.model import ADAPTER, BPS, LEAST_WORTH_BPS, NOBODY, POSITION
from tests.property.contracts.signing import SigningMachine
from tests.property.contracts.stage import MAX_TOKENS, OWNERS, VAULTS, View

givers = st.sampled_from([*OWNERS, *OWNERS, "outsider"])
gifts = st.one_of(st.sampled_from([0, 1, 199, 9_999, 10_000, 2**255]), st.integers(0, 10**8))


class GivingMachine(SigningMachine):
    """Gifts beside everything that an owner does."""

    def __init__(self) -> None:
        super().__init__()
        self.given: tuple[int, int] | None = None

    @rule(drawn=tokens, giver=givers, amount=st.one_of(st.sampled_from([9_999, 10_000]), amounts))
    def give_credit(self, drawn: int, giver: str, amount: int | str) -> None:
        token_id = self.token(drawn)
        sum_given = resolve(amount, self.model.usdc.balance(giver))
        self.call(
            lambda at: self.model.give_credit(giver, token_id, sum_given, at=at),
            giver,
            POSITION,
            "creditFor",
            token_id,
            sum_given,
        )

    @rule(drawn=tokens, giver=givers, assets=gifts, floor=st.sampled_from([None, None, 0, 1]))
    def give_deposit(self, drawn: int, giver: str, assets: int, floor: int | None) -> None:
        token_id = self.saving(drawn)
        vault = self.model.stakes[token_id].vault
        least = 0
        if floor is not None and assets < 2**64:
            least = vault.preview_deposit(assets, self.model.now + 1) + floor
        landed = self.call(
            lambda at: self.model.give_deposit(giver, token_id, assets, min_shares=least, at=at),
            giver,
            ADAPTER,
            "depositFor",
            token_id,
            assets,
            least,
        )
        if landed and giver != self.model.stakes[token_id].owner:
            self.given = token_id, assets

    @precondition(lambda self: len(self.model.stakes) < MAX_TOKENS)
    @rule(
        giver=givers,
        owner=st.sampled_from([*OWNERS, "outsider", NOBODY, ADAPTER, POSITION, "usdc"]),
        vault=st.integers(0, len(VAULTS) - 1),
        assets=gifts,
        bps=st.sampled_from([1, 10_000, 0]),
    )
    def give_position(self, giver: str, owner: str, vault: int, assets: int, bps: int) -> None:
        chosen = self.model.vaults[vault]

        def expect(at: int) -> None:
            self.model.refuse_as_owner(owner)
            with self.model.atomic():
                self.model.create(owner, bps=bps, vault=chosen, interval=60, at=at)
                self.model.give_deposit(giver, len(self.model.stakes) - 1, assets, at=at)

        given = (owner, 1, bps, chosen.name, 60, assets, 0)
        self.call(expect, giver, ADAPTER, "openFor", *given)

    def check_more(self, view: View) -> None:
        """A5: a gift moves at most its own half percent from its owner's yield to the principal."""
        super().check_more(view)
        if self.given is not None and self.last is not None:
            token_id, assets = self.given
            old, new = self.last.tokens[token_id], view.tokens[token_id]
            assert old.pending_yield is not None and new.pending_yield is not None
            assert old.principal_value is not None and new.principal_value is not None
            moved = assets - assets * LEAST_WORTH_BPS // BPS
            assert new.pending_yield >= old.pending_yield - moved - 3, "A5"
            richer = new.principal_value + new.pending_yield
            assert richer >= old.principal_value + old.pending_yield + assets - moved - 6, "A5"
        self.given = None
