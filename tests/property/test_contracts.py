"""P1 to P6, A1 to A5, Y1 and Y2 after every step of any sequence of calls, against a model.

The model (``contract_model.py``) is written from the specification and foresees every call: whether
it succeeds, and every figure after it. Two profiles: ``HoldMachine`` plays holds, days and keys;
``MixedMachine`` adds deposits, withdrawals, vaults that lose or lack money, a USDC that pauses or
blacklists, and payouts. ``CONTRACT_EXAMPLES`` sets how many runs the long profile makes.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.property.contract_model import (
    ADAPTER,
    DAY,
    EVERYTHING,
    HOUR,
    LONGEST_HOLD_S,
    POSITION,
    TREASURY,
    Hold,
    Model,
    Refused,
    Stake,
)
from tests.property.contract_stage import MAX_TOKENS, OWNERS, START_S, VAULTS, Stage, View
from tests.support.anvil import Anvil

ROOT_HASH = b"\x07" * 32
NO_SUCH_TOKEN = 99
BOUNDARIES = ("all", "all but one", "one more", "half", "endless")

amounts = st.one_of(
    st.sampled_from(BOUNDARIES), st.sampled_from([0, 1, 2]), st.integers(0, 6_000_000)
)
tokens = st.integers(0, MAX_TOKENS - 1)
callers = st.sampled_from(["its owner"] * 12 + ["outsider", "admin", "keeper"])
keepers = st.sampled_from(["keeper"] * 12 + ["outsider", "admin"])
expiries = st.sampled_from(
    [2 * HOUR, 2 * HOUR, LONGEST_HOLD_S, LONGEST_HOLD_S + 1, 1, 0, 14 * HOUR]
)
epochs = st.sampled_from([0, 0, 0, 0, 0, -1, 1])
batches = st.one_of(st.just(None), st.just(None), st.integers(1, 3), st.just(2**256 - 1))


def resolve(amount: int | str, most: int) -> int:
    """Return an amount, given the largest that is allowed."""
    if isinstance(amount, int):
        return amount
    named = {
        "all": most,
        "all but one": max(0, most - 1),
        "one more": most + 1,
        "half": most // 2,
        "endless": EVERYTHING,
    }
    return named[amount]


class HoldMachine(RuleBasedStateMachine):
    """Holds, settlements, days, expiries and key epochs on positions that keep earning."""

    stage: ClassVar[Stage]

    def __init__(self) -> None:
        super().__init__()
        self.stage.put_back()
        self.model: Model = copy.deepcopy(self.stage.start)
        self.last: View | None = None
        self.next_batch = 10
        self.suffering = False

    # --------------------------------------------------------------------------------- plumbing

    def token(self, drawn: int) -> int:
        return drawn % len(self.model.stakes)

    def caller(self, drawn: str, token_id: int) -> str:
        return self.model.stakes[token_id].owner if drawn == "its owner" else drawn

    def call(
        self, expect: Callable[[int], None], sender: str, contract: str, function: str, *given: Any
    ) -> bool:
        """Foresee a call with the model, make it, and compare whether it succeeded."""
        at = self.model.now + 1
        try:
            expect(at)
            refused = None
        except Refused as refusal:
            refused = str(refusal)
        ok, landed_at = self.stage.send(sender, contract, function, *given)
        assert landed_at == at
        assert ok == (refused is None), f"{sender}: {function}{given}: expected {refused or 'ok'}"
        self.model.now = at
        return ok

    @invariant()
    def everything_holds(self) -> None:
        self.stage.steps += 1
        view = self.stage.look(len(self.model.stakes))
        check_position(view)
        check_adapter(view, self.model.donated_to_adapter)
        check_treasury(view)
        if self.last is not None:
            check_direction(self.last, view, suffering=self.suffering)
        compare(view, self.model)
        self.last, self.suffering = view, False

    # -------------------------------------------------------------------------------------- time

    @rule(seconds=st.sampled_from([1, 60, HOUR, 7 * HOUR, 12 * HOUR, DAY, 2 * DAY + 1]))
    def wait(self, seconds: int) -> None:
        self.stage.wait(seconds, self.model.now)
        self.model.now += seconds

    @rule(offset=st.sampled_from([-2, -1, 0, 1]))
    def wait_for_midnight(self, offset: int) -> None:
        midnight = self.model.now - self.model.now % DAY + DAY
        self.wait(max(1, midnight + offset - self.model.now))

    @rule(drawn=tokens, offset=st.sampled_from([-2, -1, 0, 1]))
    def wait_for_expiry(self, drawn: int, offset: int) -> None:
        until = self.model.diaries[self.token(drawn)].promised_until
        if until + offset > self.model.now:
            self.wait(until + offset - self.model.now)

    # ------------------------------------------------------------------------------------ credit

    @rule(drawn=tokens, assets=st.sampled_from([1, 9_999, 10_001, 3_000_000]))
    def earn_and_harvest(self, drawn: int, assets: int) -> None:
        token_id = self.token(drawn)
        self.push(self.model.vaults.index(self.model.stakes[token_id].vault), assets)
        self.harvest(token_id, "outsider")

    def push(self, index: int, assets: int) -> None:
        vault = self.model.vaults[index]

        def expect(at: int) -> None:
            vault.accrue(at)
            self.model.usdc.mint(vault.name, assets)

        self.call(expect, "outsider", vault.name, "push", assets)

    def harvest(self, token_id: int, sender: str) -> None:
        self.call(
            lambda at: self.model.harvest(token_id, at=at), sender, ADAPTER, "harvest", token_id
        )

    # ------------------------------------------------------------------------------------- holds

    @rule(
        sender=keepers,
        requests=st.lists(
            st.tuples(tokens, amounts, expiries, epochs, st.integers(0, 40)), max_size=4
        ),
    )
    def hold(self, sender: str, requests: list[tuple[int, int | str, int, int, int]]) -> None:
        at = self.model.now + 1
        holds = []
        for drawn, amount, lasting, epoch_offset, luck in requests:
            token_id = self.token(drawn)
            diary = self.model.diaries[token_id]
            epoch = max(0, diary.key_epoch + epoch_offset)
            asked = resolve(amount, diary.grantable(at))
            holds.append(Hold(token_id if luck else NO_SUCH_TOKEN, asked, at + lasting, epoch))
        self.place(sender, holds)

    @rule(drawn=tokens, amount=amounts)
    def hold_well(self, drawn: int, amount: int | str) -> None:
        token_id = self.token(drawn)
        at = self.model.now + 1
        diary = self.model.diaries[token_id]
        asked = resolve(amount, diary.grantable(at))
        self.place("keeper", [Hold(token_id, asked, at + 20 * HOUR, diary.key_epoch)])

    def place(self, sender: str, holds: list[Hold]) -> None:
        self.call(
            lambda at: self.model.hold(sender, holds, at=at),
            sender,
            POSITION,
            "hold",
            [tuple(hold) for hold in holds],
        )

    @rule(sender=keepers, items=st.lists(st.tuples(tokens, amounts), max_size=4), batch=batches)
    def settle(self, sender: str, items: list[tuple[int, int | str]], batch: int | None) -> None:
        at = self.model.now + 1
        priced = []
        for drawn, amount in items:
            token_id = self.token(drawn)
            priced.append((token_id, resolve(amount, self.model.diaries[token_id].held(at))))
        if batch is None:
            self.next_batch += 1
            batch = self.next_batch
        batch_id = batch.to_bytes(32)
        self.call(
            lambda at: self.model.settle(sender, batch, priced, at=at),
            sender,
            POSITION,
            "settle",
            batch_id,
            ROOT_HASH,
            priced,
        )

    @rule(drawn=tokens, offset=st.sampled_from([-1, 1]))
    def hold_for_another_epoch(self, drawn: int, offset: int) -> None:
        """Revoke, then ask as a keeper who did not see it, or who guesses the next."""
        token_id = self.token(drawn)
        self.bump_key_epoch(drawn, "its owner")
        at = self.model.now + 1
        epoch = self.model.diaries[token_id].key_epoch + offset
        self.place("keeper", [Hold(token_id, 1_000_000, at + 20 * HOUR, epoch)])

    @precondition(lambda self: self.model.batches)
    @rule(luck=st.integers(0, 2**16))
    def settle_again(self, luck: int) -> None:
        used = sorted(self.model.batches)
        self.settle("keeper", [], used[luck % len(used)])

    @rule(drawn=tokens, amount=st.sampled_from(["all", "half", "all but one", 1]))
    def settle_well(self, drawn: int, amount: int | str) -> None:
        held = self.model.diaries[self.token(drawn)].held(self.model.now + 1)
        self.settle("keeper", [(drawn, min(resolve(amount, held), held))], None)

    # ------------------------------------------------------------------------------------- owner

    @rule(drawn=tokens, who=callers)
    def withdraw_unspent(self, drawn: int, who: str) -> None:
        token_id = self.token(drawn)
        sender = self.caller(who, token_id)
        self.call(
            lambda at: self.model.withdraw_unspent(sender, token_id, at=at),
            sender,
            POSITION,
            "withdrawUnspentYield",
            token_id,
        )

    @rule(drawn=tokens, who=callers)
    def bump_key_epoch(self, drawn: int, who: str) -> None:
        token_id = self.token(drawn)
        sender = self.caller(who, token_id)
        self.call(
            lambda _: self.model.bump_key_epoch(sender, token_id),
            sender,
            POSITION,
            "bumpKeyEpoch",
            token_id,
        )

    @rule(drawn=tokens, who=callers)
    def request_release(self, drawn: int, who: str) -> None:
        token_id = self.token(drawn)
        sender = self.caller(who, token_id)

        def expect(_: int) -> None:
            self.model.owned(sender, token_id)

        self.call(expect, sender, POSITION, "requestRelease", token_id)

    @rule()
    def sweep(self) -> None:
        self.call(lambda _: self.model.sweep(), "outsider", POSITION, "sweep")

    @rule(
        drawn=tokens, function=st.sampled_from(["mint", "creditYield", "transferFrom", "approve"])
    )
    def trespass(self, drawn: int, function: str) -> None:
        """Try what nobody outside may do: mint, credit, hand over."""

        def expect(_: int) -> None:
            raise Refused(function)

        token_id = self.token(drawn)
        owner = self.model.stakes[token_id].owner
        given: dict[str, tuple[Any, ...]] = {
            "mint": (owner, 1, 10_000),
            "creditYield": (token_id, 1),
            "transferFrom": (owner, "outsider", token_id),
            "approve": ("outsider", token_id),
        }
        self.call(expect, owner, POSITION, function, *given[function])


class MixedMachine(HoldMachine):
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
            self.model.create(sender, bps=bps, vault=chosen, interval=interval, at=at)
            if assets is not None:
                try:
                    self.model.deposit(sender, len(self.model.stakes) - 1, assets, at=at)
                except Refused:
                    self.model.stakes.pop()
                    self.model.diaries.pop()
                    raise

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

    # --------------------------------------------------------------------------------- principal

    @rule(drawn=tokens, who=callers, amount=amounts, floor=st.sampled_from([None, None, 0, 1]))
    def deposit(self, drawn: int, who: str, amount: int | str, floor: int | None) -> None:
        token_id = self.token(drawn)
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
        token_id = self.token(drawn)
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
        self.deposit(drawn, "its owner", assets, None)

    @rule(drawn=tokens, assets=st.integers(1, 10**9))
    def withdraw_well(self, drawn: int, assets: int) -> None:
        self.withdraw(drawn, "its owner", assets, 0)

    @rule(drawn=tokens, assets=st.integers(1, 10**9))
    def there_and_back(self, drawn: int, assets: int) -> None:
        """Just deposited, the principal needs more shares than were minted."""
        self.deposit(drawn, "its owner", assets, None)
        self.withdraw(drawn, "its owner", "all", 0)

    @rule(drawn=tokens, who=callers)
    def exit_in_kind(self, drawn: int, who: str) -> None:
        token_id = self.token(drawn)
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
        self.harvest(self.token(drawn), sender)

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
            usdc.move(vault.name, "black_hole", assets)

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
        """USDC and the vaults serve everybody again."""
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
        return usdc.paused or bool(usdc.blacklist) or illiquid

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
        items=st.lists(st.tuples(st.sampled_from(OWNERS), amounts), max_size=2),
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

    @rule(sender=st.sampled_from(["admin", "admin", "payer"]), amount=amounts)
    def withdraw_margin(self, sender: str, amount: int | str) -> None:
        asked = resolve(amount, self.model.available)
        self.call(
            lambda _: self.model.withdraw_margin(sender, asked),
            sender,
            TREASURY,
            "withdraw",
            "admin",
            asked,
        )


# ------------------------------------------------------------------------------------------ checks


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
        room = account.day_cap - account.day_spent - account.held
        assert token.remaining == min(account.unspent - account.held, room)


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
        harvested = new.account.credited > old.account.credited
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
    for seen, vault in zip(view.vaults, model.vaults, strict=True):
        booked = sum(stake.shares for stake in model.stakes if stake.vault is vault)
        assert (seen.supply, seen.adapter_shares) == (vault.supply, booked)
        assert seen.total_assets == vault.total_assets(model.now)
    for token, stake, diary in zip(view.tokens, model.stakes, model.diaries, strict=True):
        assert token.owner == stake.owner
        assert token.account == diary.account(model.now)
        assert token.remaining == diary.remaining(model.now)
        assert token.booked == (
            stake.vault.name,
            stake.principal,
            stake.shares,
            stake.interval_minutes,
            stake.last_harvest_at,
        )
        assert token.pending_yield == stake.pending_yield(model.now)
        assert token.principal_value == stake.principal_value(model.now)


# ------------------------------------------------------------------------------------------- tests


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Return the contracts on a chain of their own."""
    arguments = ["--block-base-fee-per-gas", "0", "--gas-price", "0"]
    with Anvil(timestamp_s=START_S, arguments=arguments) as anvil:
        stage = Stage(anvil)
        yield stage
        stage.close()


def play(
    stage: Stage,
    machine: type[HoldMachine],
    request: pytest.FixtureRequest,
    *,
    examples: int,
    steps: int,
) -> None:
    """Run a machine and say how fast it was."""
    machine.stage = stage
    stage.steps, started_s = 0, time.perf_counter()
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        elapsed_s = time.perf_counter() - started_s
        speed = f"{stage.steps} steps in {elapsed_s:.1f} s, {stage.steps / elapsed_s:.0f} a second"
        plugins = request.config.pluginmanager
        reporter: Any = plugins.get_plugin("terminalreporter")
        capture: Any = plugins.get_plugin("capturemanager")
        with capture.global_and_fixture_disabled():
            reporter.write_line(f"\n{machine.__name__}: {speed}")


@pytest.mark.parametrize("machine", [HoldMachine, MixedMachine])
def test_contracts__any_calls__as_specified(
    stage: Stage, machine: type[HoldMachine], request: pytest.FixtureRequest
) -> None:
    play(stage, machine, request, examples=50, steps=50)


@pytest.mark.slow
@pytest.mark.parametrize("machine", [HoldMachine, MixedMachine])
def test_contracts__very_many_calls__as_specified(
    stage: Stage, machine: type[HoldMachine], request: pytest.FixtureRequest
) -> None:
    examples = int(os.environ.get("CONTRACT_EXAMPLES", "200"))
    play(stage, machine, request, examples=examples, steps=120)
