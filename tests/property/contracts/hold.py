"""``HoldMachine``: holds, days, expiries and keys on positions that keep earning.

It is also what the other machines are made of: how a call is foreseen, made and compared.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.property.contracts.checks import (
    check_adapter,
    check_direction,
    check_position,
    check_treasury,
    compare,
)
from tests.property.contracts.model import (
    ADAPTER,
    DAY,
    EVERYTHING,
    HOUR,
    LONGEST_HOLD_S,
    POSITION,
    Hold,
    Model,
    Refused,
)
from tests.property.contracts.stage import Stage, View

ROOT_HASH = b"\x07" * 32
NO_SUCH_TOKEN = 99
BOUNDARIES = ("all", "all but one", "one more", "half", "endless")

amounts = st.one_of(
    st.sampled_from(BOUNDARIES), st.sampled_from([0, 1, 2]), st.integers(0, 6_000_000)
)
tokens = st.integers(0, 23)
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

    stage_type: ClassVar[type[Stage]] = Stage
    stage: ClassVar[Stage]

    def __init__(self) -> None:
        super().__init__()
        self.stage.put_back()
        self.model: Model = copy.deepcopy(self.stage.start)
        self.last: View | None = None
        self.fresh: View | None = None
        self.next_batch = 10
        self.suffering = False

    # --------------------------------------------------------------------------------- plumbing

    def token(self, drawn: int) -> int:
        return drawn % len(self.model.stakes)

    def saving(self, drawn: int) -> int:
        """Choose a position on an honest vault."""
        names = [vault.name for vault in self.model.vaults]
        honest = [i for i, stake in enumerate(self.model.stakes) if stake.vault.name in names]
        return honest[drawn % len(honest)]

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
        self.model.now, self.fresh = at, None
        return ok

    @invariant()
    def everything_holds(self) -> None:
        self.stage.steps += 1
        view = self.fresh or self.stage.look(self.model)
        check_position(view)
        check_adapter(view, self.model.donated_to_adapter)
        check_treasury(view)
        if self.last is not None:
            check_direction(self.last, view, suffering=self.suffering)
        compare(view, self.model)
        self.check_more(view)
        self.last, self.fresh, self.suffering = view, None, False

    def check_more(self, view: View) -> None:
        """Check what only one machine knows of."""

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
        token_id = self.saving(drawn)
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
