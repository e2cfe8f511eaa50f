"""Whatever the snapshot, the keeper's decisions keep these promises.

- no live hold is ever lowered while the proxy might reserve against it, nor below what is drawn
- no hold is asked for above what the contract would grant, nor longer than it allows
- nothing is settled beyond a live hold
- a hold is freed only when its owner asked and nothing is drawn
- no position appears twice in a transaction, and none while its last one is not mirrored
"""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from contracts.units import SECONDS_PER_DAY, utc_day
from keeper.duties.harvest import HarvestItem, HarvestQuote
from keeper.duties.hold import HoldItem
from keeper.duties.positions import PositionFacts
from keeper.duties.registry import KINDS, Rules
from keeper.duties.settle import SettleItem
from ledger.chain.harvest_outlook import HARVEST_MIN_USDC
from ledger.chain.positions import PositionState, get_allowance
from tests.support.decisions import Scene, decide
from tests.support.ledgers import OWNER

RULES = Rules()
HOLD_S_MAX = 25 * 3_600
NOW = st.integers(min_value=1_800_000_000, max_value=1_800_000_000 + 3 * SECONDS_PER_DAY)
AMOUNT = st.one_of(st.integers(0, 20), st.integers(0, 20_000_000))


@st.composite
def facts_of(draw: st.DrawFn, token_id: int, now_s: int) -> PositionFacts:
    """Draw a position that the contract's invariants allow, with any usage."""
    credited = draw(AMOUNT)
    spent = draw(st.integers(0, credited))
    withdrawn = draw(st.integers(0, credited - spent))
    unspent = credited - spent - withdrawn
    day = draw(st.sampled_from([utc_day(now_s), utc_day(now_s) - 1]))
    day_spent = draw(st.integers(0, spent))
    asked = draw(st.one_of(st.none(), st.integers(0, 100)))
    posted = draw(AMOUNT)
    current = draw(AMOUNT)
    old = draw(st.one_of(st.just(0), AMOUNT))
    state = PositionState(
        token_id=token_id,
        owner=OWNER,
        model_tier=0,
        daily_smoothing_bps=draw(st.sampled_from([1, 100, 5_000, 10_000])),
        key_epoch=draw(st.integers(0, 3)),
        credited_usdc=credited,
        spent_usdc=spent,
        withdrawn_usdc=withdrawn,
        hold_usdc=draw(st.integers(0, unspent)),
        hold_expires_at_s=now_s + draw(st.integers(-100, 7_200)),
        day=day,
        day_base_usdc=draw(st.integers(day_spent, day_spent + unspent)),
        day_spent_usdc=day_spent,
        release_requested_at_s=None if asked is None else now_s - asked,
    )
    wanted = draw(st.one_of(st.none(), st.integers(0, 5_000)))
    released = draw(st.one_of(st.none(), st.integers(0, 400)))
    return PositionFacts(
        state=state,
        drawn_usdc=posted + current + old,
        drawn_current_usdc=posted + current,
        posted_usdc=posted,
        posted_since_s=now_s - draw(st.integers(0, 1_000)),
        required_usdc=draw(AMOUNT),
        wanted_at_s=None if wanted is None else now_s - wanted,
        released_at_s=None if released is None else now_s - released,
    )


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Draw a scene of a few positions, some with something on its way."""
    now_s = draw(NOW)
    count = draw(st.integers(1, 5))
    tokens = range(count)
    on_its_way = st.tuples(st.sampled_from(KINDS), st.sampled_from(tokens))
    return Scene(
        now_s=now_s,
        positions=tuple(draw(facts_of(token_id, now_s)) for token_id in tokens),
        harvests=tuple(
            HarvestQuote(token_id, now_s - draw(st.integers(-10, 100_000)), draw(AMOUNT))
            for token_id in tokens
        ),
        harvest_gas_usdc=draw(AMOUNT),
        in_flight=draw(st.frozensets(on_its_way, max_size=3)),
    )


def items_of(scene: Scene) -> Sequence[HoldItem | SettleItem | HarvestItem]:
    return [
        item
        for action in decide(scene, RULES)
        for item in action.items
        if isinstance(item, HoldItem | SettleItem | HarvestItem)
    ]


@given(scenes())
def test_decide__any_hold__keeps_what_is_promised(scene: Scene) -> None:
    by_token = {facts.token_id: facts for facts in scene.positions}
    for item in items_of(scene):
        if not isinstance(item, HoldItem):
            continue
        facts = by_token[item.token_id]
        allowance = get_allowance(facts.state, now_s=scene.now_s)
        assert item.key_epoch == facts.state.key_epoch
        assert item.amount_usdc <= allowance.grantable_usdc
        if item.amount_usdc == 0:
            assert facts.state.release_requested_at_s is not None
            assert facts.drawn_usdc == 0
            continue
        assert scene.now_s < item.expires_at_s <= scene.now_s + HOLD_S_MAX
        if allowance.held_usdc > 0:
            assert item.amount_usdc >= min(facts.drawn_usdc, allowance.grantable_usdc)
            assert item.amount_usdc >= allowance.held_usdc


@given(scenes())
def test_decide__any_settlement__is_paid_by_a_live_hold(scene: Scene) -> None:
    by_token = {facts.token_id: facts for facts in scene.positions}
    for item in items_of(scene):
        if isinstance(item, SettleItem):
            facts = by_token[item.token_id]
            held_usdc = get_allowance(facts.state, now_s=scene.now_s).held_usdc
            assert 0 < item.limit_usdc <= held_usdc
            assert facts.posted_usdc > 0
            assert facts.state.hold_expires_at_s > scene.now_s + RULES.settle_landing_s


@given(scenes())
def test_decide__any_harvest__is_due_and_large_enough(scene: Scene) -> None:
    due_at_s = {quote.token_id: quote.due_at_s for quote in scene.harvests}
    for item in items_of(scene):
        if isinstance(item, HarvestItem):
            assert item.amount_usdc >= HARVEST_MIN_USDC
            assert due_at_s[item.token_id] <= scene.now_s


@given(scenes())
def test_decide__any_round__touches_a_position_once_a_kind_and_none_on_its_way(
    scene: Scene,
) -> None:
    actions = decide(scene, RULES)

    assert len({action.kind for action in actions}) == len(actions)
    for action in actions:
        assert len(set(action.token_ids)) == len(action.token_ids)
        moving = {"settle", "hold"} if action.kind in ("settle", "hold") else {action.kind}
        for token_id in action.token_ids:
            assert not any((kind, token_id) in scene.in_flight for kind in moving)


@given(scenes())
def test_decide__the_same_snapshot__gives_the_same_actions(scene: Scene) -> None:
    assert decide(scene, RULES) == decide(scene, RULES)
