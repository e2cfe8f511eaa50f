"""The invariants by name, from what the contracts say of themselves, and the model beside them."""

from __future__ import annotations

from tests.property.contracts.model import ADAPTER, OWNED, POSITION, TREASURY, Model, Stake
from tests.property.contracts.stage import OWNERS, View


def fair_value(stake: Stake, at: int) -> int:
    """Return what the shares are worth less one share, which rounding may cost."""
    return stake.vault.preview_redeem(max(0, stake.shares - 1), at)


def check_position(view: View) -> None:
    """P1, P2, P3 from what the contract says itself."""
    unspent = sum(token.account.unspent for token in view.tokens)
    assert view.liabilities == unspent + view.owed, "P1"
    assert view.balances[POSITION] >= view.liabilities, "P1"
    for token in view.tokens:
        account = token.account
        assert account.held <= account.unspent, "P2"
        assert account.day_spent + account.held <= account.day_cap, "P3"
        assert token.remaining == min(account.unspent, account.day_cap - account.day_spent)
        assert token.withdrawable == account.unspent - account.held


def check_adapter(view: View, donated: int) -> None:
    """A1, A2, and that no share is without a principal's owner."""
    for i, vault in enumerate(view.vaults):
        booked = [token.booked for token in view.tokens if token.booked[0] == f"vault{i}"]
        assert sum(shares for _, _, shares, _, _ in booked) <= vault.adapter_shares, "A1"
        assert all(principal == 0 for _, principal, shares, _, _ in booked if shares == 0)
    assert view.balances[ADAPTER] == donated, "A2"


def check_treasury(view: View) -> None:
    """Y2: what is promised to payees is there."""
    assert view.balances[TREASURY] >= view.total_credited, "Y2"


def check_direction(before: View, after: View, *, suffering: bool) -> None:
    """P4, P6, A3 after a harvest, and A5: nobody is poorer for what others did."""
    for old, new in zip(before.tokens, after.tokens, strict=False):
        assert new.owner == old.owner, "P6"
        kept = ("credited", "spent", "withdrawn", "key_epoch")
        assert all(getattr(new.account, n) >= getattr(old.account, n) for n in kept), "P4"
        assert new.booked[0] == old.booked[0], "a position never changes its vault"
        # A gift is credited too, and burns no shares.
        is_credited = new.account.credited > old.account.credited
        harvested = is_credited and new.booked[2] < old.booked[2]
        if new.principal_value is None or new.pending_yield is None:
            continue
        assert old.principal_value is not None and old.pending_yield is not None
        if harvested:
            assert new.principal_value >= new.booked[1], "A3"
        if new.booked[1:3] == old.booked[1:3] and not suffering:
            assert new.principal_value >= old.principal_value - 2, "A5"
            assert new.pending_yield >= old.pending_yield - 2, "A5"


def compare(view: View, model: Model) -> None:
    """Every figure as the model foresaw it."""
    assert view.now == model.now
    assert view.liabilities == model.liabilities
    assert view.owed == model.owed
    assert view.total_credited == sum(model.claims.values())
    assert view.balances == {name: model.usdc.balance(name) for name in view.balances}
    assert view.usdc_supply == sum(model.usdc.balances.values()), "no USDC unaccounted for"
    assert view.admins == {name: (model.admins[name], model.heirs[name]) for name in OWNED}
    for owner in OWNERS:
        assert view.grants[owner] == (model.usdc.allowance(owner), model.usdc.nonces.get(owner, 0))
    for seen, vault in zip(view.vaults, model.vaults, strict=True):
        assert (seen.supply, seen.adapter_shares) == (vault.supply, vault.shares.get(ADAPTER, 0))
        assert seen.total_assets == vault.total_assets(model.now)
    for token, stake, diary in zip(view.tokens, model.stakes, model.diaries, strict=True):
        assert token.owner == stake.owner
        assert token.account == diary.account(model.now)
        assert token.remaining == diary.remaining(model.now)
        assert token.withdrawable == diary.free(model.now)
        assert token.booked == (
            stake.vault.name,
            stake.principal,
            stake.shares,
            stake.interval_minutes,
            stake.last_harvest_at,
        )
        if token.pending_yield is not None:
            assert token.pending_yield == stake.pending_yield(model.now)
            assert token.principal_value == stake.principal_value(model.now)
