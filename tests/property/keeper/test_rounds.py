"""Whatever is due, and however much of it: what a round takes, and that nobody waits for ever.

- no transaction has more items than it may, no item is in a round twice
- payouts never exceed the treasury, settlements never what is posted nor what is held
- a harvest is made from exactly gas times margin on, not for 1e-6 USDC less
- what is due is done after as many rounds as its number asks for, and no more
- amounts of 0, of 1 and of the largest that there are change none of it
"""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from contracts.units import BPS_ONE, USDC_MAX, utc_day
from keeper.duties.duty import Action
from keeper.duties.harvest import (
    HarvestQuote,
    decide_harvest,
    get_harvest_worth_usdc,
)
from keeper.duties.payout import PayoutDue
from keeper.duties.positions import PositionFacts
from keeper.duties.registry import Rules
from keeper.duties.x402_choice import PaymentDue
from keeper.worth import SIZES
from ledger.chain.harvest_outlook import HARVEST_MIN_USDC
from ledger.chain.positions import PositionState
from tests.support import decisions
from tests.support.decisions import Scene, decide
from tests.support.ledgers import OWNER

NOW_S = 1_800_000_000
RULES = Rules(items_max=5, harvest_items_max=3, harvest_transactions_max=2, payment_items_max=4)
AMOUNT = st.one_of(
    st.sampled_from([0, 1, HARVEST_MIN_USDC - 1, HARVEST_MIN_USDC, USDC_MAX - 1, USDC_MAX]),
    st.integers(0, 30_000_000),
)
PAYEE = "0x" + "aa" * 20


def make_position(
    token_id: int, *, held_usdc: int, posted_usdc: int, **changes: int
) -> PositionFacts:
    """Return a position with a live hold and usage that is old."""
    state = PositionState(
        token_id=token_id,
        owner=OWNER,
        model_tier=0,
        daily_smoothing_bps=BPS_ONE,
        key_epoch=0,
        credited_usdc=USDC_MAX,
        spent_usdc=0,
        withdrawn_usdc=0,
        hold_usdc=held_usdc,
        hold_expires_at_s=NOW_S + changes.get("left_s", 7_000),
        day=utc_day(NOW_S),
        day_base_usdc=USDC_MAX,
        day_spent_usdc=0,
        release_requested_at_s=None,
    )
    return PositionFacts(
        state=state,
        drawn_usdc=posted_usdc,
        drawn_current_usdc=posted_usdc,
        posted_usdc=posted_usdc,
        posted_since_s=NOW_S - changes.get("age_s", 10_000),
        wanted_at_s=NOW_S,
    )


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Draw a scene of many things that are due, of any amounts."""
    count = draw(st.integers(0, 14))
    return Scene(
        now_s=NOW_S,
        positions=tuple(
            make_position(token_id, held_usdc=draw(AMOUNT), posted_usdc=draw(AMOUNT))
            for token_id in range(count)
        ),
        harvests=tuple(
            HarvestQuote(
                token_id, NOW_S - draw(st.integers(-5, 10**6)), draw(AMOUNT), NOW_S - 10**6
            )
            if draw(st.booleans())
            else HarvestQuote(token_id, NOW_S - 1, draw(AMOUNT), 0, draw(st.integers(0, 90)), True)
            for token_id in range(draw(st.integers(0, 14)))
        ),
        harvest_gas_usdc=draw(AMOUNT),
        payouts=tuple(
            PayoutDue(f"payout-{n}", PAYEE, draw(AMOUNT), NOW_S - draw(st.integers(0, 100)))
            for n in range(draw(st.integers(0, 14)))
        ),
        payments=tuple(
            PaymentDue(
                f"payment-{n}",
                draw(AMOUNT),
                NOW_S + draw(st.integers(-5, 60)),
                NOW_S - draw(st.integers(0, 9)),
                draw(st.integers(0, 1)),
                draw(st.sampled_from([None, None, "refused"])),
                payer=draw(st.sampled_from(["0xaa", "0xbb", "0xcc"])),
                has_code=draw(st.booleans()),
            )
            for n in range(draw(st.integers(0, 14)))
        ),
        treasury_usdc=draw(AMOUNT),
        owed_usdc=draw(AMOUNT),
        owed_since_s=draw(st.sampled_from([None, 0])),
    )


def most_items(kind: str) -> int:
    return {
        "harvest": RULES.harvest_items_max,
        "x402": RULES.payment_items_max,
        "sweep": 1,
    }.get(kind, RULES.items_max)


@given(scenes())
def test_decide__any_round__no_more_than_fits_and_nothing_twice(scene: Scene) -> None:
    actions = decide(scene, RULES)

    subjects = [(action.kind, item.subject) for action in actions for item in action.items]
    assert len(set(subjects)) == len(subjects)
    for action in actions:
        assert 0 < len(action.items) <= most_items(action.kind)
        assert action.amount_usdc >= 0
    harvests = [action for action in actions if action.kind == "harvest"]
    assert len(harvests) <= RULES.harvest_transactions_max
    apart = [a for a in actions if a.kind == "x402" and any(item.is_apart for item in a.items)]
    assert len(apart) <= RULES.payment_apart_max
    assert all(len(action.items) == 1 for action in apart)
    others = [a.kind for a in actions if a.kind != "harvest" and a not in apart]
    assert len(set(others)) == len(others)


@given(scenes())
def test_decide__any_money__is_there_and_asked_for(scene: Scene) -> None:
    posted = {facts.token_id: facts for facts in scene.positions}
    for action in decide(scene, RULES):
        if action.kind == "payout":
            assert action.amount_usdc <= scene.treasury_usdc
        if action.kind == "settle":
            for token_id in action.token_ids:
                assert posted[token_id].posted_usdc > 0
            total_usdc = sum(
                min(posted[t].posted_usdc, posted[t].state.hold_usdc) for t in action.token_ids
            )
            assert action.amount_usdc == total_usdc
        if action.kind == "x402":
            by_id = {payment.payment_id: payment for payment in scene.payments}
            sent = [by_id[str(item.subject)] for item in action.items]
            assert all(one.refusal is None for one in sent)
            assert all(one.valid_before_s > NOW_S + RULES.payment_landing_s for one in sent)
            may_burn = [one for one in sent if one.has_code or one.failures > 0]
            assert not may_burn or len(sent) == 1


@given(gas_usdc=AMOUNT, margin_bps=st.integers(0, 200_000), least_usdc=AMOUNT)
def test_harvest__gas_times_margin__is_the_exact_bound(
    gas_usdc: int, margin_bps: int, least_usdc: int
) -> None:
    rules = Rules(harvest_margin_bps=margin_bps, harvest_min_usdc=max(least_usdc, HARVEST_MIN_USDC))
    moment = Scene(NOW_S, harvest_gas_usdc=gas_usdc).moment
    gas_usdc = moment.gas_price.get_cost_usdc(SIZES["harvest"].item_gas)
    worth_usdc = get_harvest_worth_usdc(moment.gas_price, rules)

    for usdc, acts in ((worth_usdc, True), (worth_usdc - 1, False)):
        item = decide_harvest(HarvestQuote(0, NOW_S, usdc), moment, rules)
        assert (item is not None) == acts
    assert worth_usdc * BPS_ONE >= gas_usdc * margin_bps, "never at a loss"
    if worth_usdc > max(least_usdc, HARVEST_MIN_USDC):
        assert (worth_usdc - 1) * BPS_ONE < gas_usdc * margin_bps, "and not later than it pays"


def run_rounds(scene: Scene, kind: str, count: int) -> list[Action]:
    """Let a keeper make rounds in which everything succeeds; return what it did of a kind."""
    done: list[Action] = []
    for _ in range(count):
        actions = [action for action in decide(scene, RULES) if action.kind is kind]
        done += actions
        over = {item.subject for action in actions for item in action.items}
        scene = replace(
            scene,
            positions=tuple(f for f in scene.positions if f.token_id not in over),
            harvests=tuple(q for q in scene.harvests if q.token_id not in over),
            payouts=tuple(p for p in scene.payouts if p.payout_id not in over),
            payments=tuple(p for p in scene.payments if p.payment_id not in over),
        )
    return done


def count_items(actions: Sequence[Action]) -> int:
    return sum(len(action.items) for action in actions)


@given(
    count=st.integers(0, 40),
    usdc=st.sampled_from([1, 10_000, 5_000_000, USDC_MAX]),
)
def test_rounds__however_much_is_due__all_of_it_is_done_as_soon_as_it_fits(
    count: int, usdc: int
) -> None:
    tokens = range(count)
    held = min(usdc, USDC_MAX)
    scene = Scene(
        now_s=NOW_S,
        positions=tuple(make_position(t, held_usdc=held, posted_usdc=usdc) for t in tokens),
        harvests=tuple(HarvestQuote(t, NOW_S, max(usdc, HARVEST_MIN_USDC)) for t in tokens),
        payouts=tuple(PayoutDue(f"p{t}", PAYEE, usdc, NOW_S - 100) for t in tokens),
        payments=tuple(PaymentDue(f"p{t}", usdc, NOW_S + 600, NOW_S) for t in tokens),
        treasury_usdc=USDC_MAX * RULES.items_max,
    )
    for kind, at_once in (
        ("settle", RULES.items_max),
        ("harvest", RULES.harvests_max),
        ("payout", RULES.items_max),
        ("x402", RULES.payment_items_max),
    ):
        needed = -(-count // at_once)
        assert count_items(run_rounds(scene, kind, needed)) == count, kind
        if needed:
            assert count_items(run_rounds(scene, kind, needed - 1)) < count


@given(sizes=st.lists(st.integers(1, 20), max_size=30), treasury_usdc=st.integers(0, 100))
def test_payouts__some_too_large__hold_up_none_that_fits(
    sizes: list[int], treasury_usdc: int
) -> None:
    scene = Scene(
        now_s=NOW_S,
        payouts=tuple(
            PayoutDue(f"{n:03}", PAYEE, usdc, NOW_S - 100) for n, usdc in enumerate(sizes)
        ),
        treasury_usdc=treasury_usdc,
    )
    actions = decide(scene, RULES)
    paid = [item for action in actions for item in action.items]

    left_usdc = treasury_usdc - sum(action.amount_usdc for action in actions)
    waiting = [
        usdc for n, usdc in enumerate(sizes) if f"{n:03}" not in {item.subject for item in paid}
    ]
    assert len(paid) == RULES.items_max or all(usdc > left_usdc for usdc in waiting)


@given(scenes())
def test_rests__whatever_is_due__is_looked_at_again_within_bounds(scene: Scene) -> None:
    chosen = {
        token_id
        for action in decide(scene, RULES)
        if action.kind == "harvest"
        for token_id in action.token_ids
    }
    rests = decisions.rest(scene, chosen, RULES)

    assert [rest.token_id for rest in rests] == sorted(q.token_id for q in scene.harvests)
    longest_s = max(RULES.harvest_recheck_s << 6, RULES.harvest_max_age_s)
    for rest in rests:
        assert NOW_S <= rest.look_at_s <= NOW_S + longest_s
