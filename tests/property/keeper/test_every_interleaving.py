"""Every order of events in a small world: nothing that was served stays unpaid.

A position with four units of credit, its owner, three requests of one unit each, the keeper's real
decisions (``keeper.planning``) on a view that may be a block old, blocks that hold any of the
waiting transactions in any order, and one reorganisation of one block. The search visits every
state that these can reach. From each of them the keeper is then left alone; in the end, every
request that was answered must be settled.

The contract's rule for holds is written here as ``contracts.md`` states it; that the contract keeps
that rule for all values is proved in ``tests/property/contracts/test_account_proof.py``. The search
can fail: with the rule as it stood before, it finds the owner who bumps the key epoch in front of a
renewal and withdraws what pays for answers that were given.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from typing import Final

import pytest

from keeper.duties.hold import HoldRules, decide_hold
from keeper.duties.positions import PositionFacts
from keeper.duties.settle import SettleRules, decide_settle
from ledger.chain.positions import PositionState

CREDIT_USDC: Final = 3
LIFETIME_S: Final = 7_200
STATES_MAX: Final = 2_000_000
MARGIN_S: Final = 900
"""What the proxy leaves the keeper to settle in before a hold lapses."""

TIMES_S: Final = (1_000_000, 1_004_600, 1_006_400, 1_006_800, 1_007_150, 1_007_300)
"""Inside one day: a hold placed first is to be renewed, closed to requests, about to end, gone."""

HOLD_RULES: Final = HoldRules(hold_target_usdc=2, hold_step_min_usdc=1)
SETTLE_RULES: Final = SettleRules(settle_amount_usdc=1)


@dataclass(frozen=True)
class Chain:
    """The position on chain after some block. Amounts in units."""

    settled: frozenset[int] = frozenset()
    withdrawn: int = 0
    held: int = 0
    expires_s: int = 0
    epoch: int = 0
    released: bool = False
    raised: int = 0
    """By how much the newest block raised the hold: not counted until it has a successor."""
    expired_before_s: int = 0
    """When the hold that the newest block replaced would have lapsed; 0 where it replaced none."""

    def live(self, now_s: int) -> int:
        return self.held if self.expires_s > now_s else 0

    @property
    def unspent(self) -> int:
        return CREDIT_USDC - len(self.settled) - self.withdrawn


@dataclass(frozen=True)
class Transaction:
    kind: str
    nonce: int = -1
    """The keeper's own are mined in the order of their nonces. Others come from other senders."""
    ids: frozenset[int] = frozenset()
    amount: int = 0
    expires_s: int = 0
    epoch: int = 0
    is_reduction: bool = False


@dataclass(frozen=True)
class Request:
    epoch: int
    is_answered: bool = False


@dataclass(frozen=True)
class World:
    """One state of everything."""

    base: Chain = Chain()
    head: Chain = Chain()
    block: tuple[Transaction, ...] = ()
    """What the newest block holds, on top of ``base``."""
    is_mirrored: bool = True
    pool: frozenset[Transaction] = frozenset()
    requests: tuple[Request, ...] = ()
    clock: int = 0
    reorgs: int = 0
    requests_left: int = 1
    owner_may: tuple[str, ...] = ()
    """What the owner has not done yet, each once."""

    @property
    def now_s(self) -> int:
        return TIMES_S[self.clock]

    @property
    def view(self) -> Chain:
        """What the ledger mirrors."""
        return self.head if self.is_mirrored else self.base


Admit = Callable[["World"], bool]
Grant = Callable[[Chain, Transaction, int], Chain]


def grant(chain: Chain, asked: Transaction, now_s: int) -> Chain:
    """Place a hold by the rule of ``contracts.md``: a live hold is a promise."""
    live = chain.live(now_s)
    if asked.amount == 0:
        return replace(chain, held=0, expires_s=0, released=False)
    if asked.epoch == chain.epoch:
        granted, expires_s = min(asked.amount, max(live, chain.unspent)), asked.expires_s
    else:
        granted, expires_s = min(asked.amount, live), min(asked.expires_s, chain.expires_s)
    if granted == 0:
        return replace(chain, held=0, expires_s=0, released=False)
    return _raise_hold(chain, granted, expires_s, live)


def grant_nothing_to_a_stale_epoch(chain: Chain, asked: Transaction, now_s: int) -> Chain:
    """The rule as it stood before: a placement for a stale epoch replaces the hold by nothing."""
    granted = min(asked.amount, chain.unspent) if asked.epoch == chain.epoch else 0
    if granted == 0:
        return replace(chain, held=0, expires_s=0, released=False)
    return _raise_hold(chain, granted, asked.expires_s, chain.live(now_s))


def _raise_hold(chain: Chain, granted: int, expires_s: int, live: int) -> Chain:
    return replace(
        chain,
        held=granted,
        expires_s=expires_s,
        raised=chain.raised + max(0, granted - live),
        expired_before_s=chain.expired_before_s or chain.expires_s or expires_s,
    )


def apply(chain: Chain, transaction: Transaction, now_s: int, rule: Grant) -> Chain:
    """Return the chain after one transaction; what the contract refuses changes nothing."""
    match transaction.kind:
        case "hold":
            if transaction.amount > 0 and transaction.expires_s <= now_s:
                return chain
            return rule(chain, transaction, now_s)
        case "settle":
            cost = len(transaction.ids)
            if cost > chain.live(now_s) or transaction.ids & chain.settled:
                return chain
            settled = chain.settled | transaction.ids
            return replace(chain, settled=settled, held=chain.held - cost)
        case "bump":
            return replace(chain, epoch=chain.epoch + 1)
        case "withdraw":
            free = chain.unspent - chain.live(now_s)
            return replace(chain, withdrawn=chain.withdrawn + free)
        case "release":
            return replace(chain, released=True)
    raise AssertionError(transaction.kind)


def send(world: World, sent: list[Transaction]) -> World:
    return replace(world, pool=world.pool | set(sent))


def renumber(world: World) -> World:
    """Count nonces from the oldest that still matters: states that differ so are one."""
    own = sorted(t.nonce for t in (*world.block, *world.pool) if t.nonce >= 0)
    rank = {nonce: number for number, nonce in enumerate(own)}

    def renamed(transaction: Transaction) -> Transaction:
        return replace(transaction, nonce=rank.get(transaction.nonce, -1))

    if own == list(range(len(own))):
        return world
    pool = frozenset(map(renamed, world.pool))
    return replace(world, block=tuple(map(renamed, world.block)), pool=pool)


def is_in_order(block: tuple[Transaction, ...], pool: frozenset[Transaction]) -> bool:
    nonces = [transaction.nonce for transaction in block if transaction.nonce >= 0]
    waiting = sorted(transaction.nonce for transaction in pool if transaction.nonce >= 0)
    return nonces == waiting[: len(nonces)]


def mine(world: World, block: tuple[Transaction, ...], rule: Grant) -> World:
    base = replace(world.head, raised=0, expired_before_s=0)
    head = base
    for transaction in block:
        head = apply(head, transaction, world.now_s, rule)
    pool = world.pool - set(block)
    return replace(world, base=base, head=head, block=block, is_mirrored=False, pool=pool)


def reorganise(world: World) -> World:
    """Take the newest block back; its transactions wait again."""
    pool = world.pool | set(world.block)
    head = replace(world.base, raised=0, expired_before_s=0)
    return replace(
        world, head=head, block=(), is_mirrored=False, pool=pool, reorgs=world.reorgs + 1
    )


def pass_time(world: World) -> World:
    """Move on by many blocks, which bury the newest one."""
    head = replace(world.head, raised=0, expired_before_s=0)
    return replace(world, base=head, head=head, block=(), clock=world.clock + 1)


# ------------------------------------------------------------------------------- ledger and keeper


def count_drawn(world: World) -> int:
    return len(world.requests) - len(world.view.settled)


def admit(world: World) -> bool:
    """Tell whether the proxy reserves one unit more: by the mirrored hold, as far as it counts."""
    view = world.view
    lapses_s = min(view.expires_s, view.expired_before_s or view.expires_s)
    if view.released or lapses_s <= world.now_s + MARGIN_S:
        return False
    # A reduction that may still land, or land again, counts already.
    reductions = [t for t in find_placements(world) if t.is_reduction]
    counted = min([view.held - view.raised, *(t.amount for t in reductions)])
    return count_drawn(world) + 1 <= counted


def find_placements(world: World) -> list[Transaction]:
    """Return the placements that may still land, or land again."""
    return [t for t in (*world.pool, *world.block) if t.kind == "hold"]


def admit_whatever_is_on_its_way(world: World) -> bool:
    """Admit by the mirrored hold alone, as it was before."""
    view = world.view
    lapses_s = min(view.expires_s, view.expired_before_s or view.expires_s)
    is_open = not view.released and lapses_s > world.now_s + MARGIN_S
    return is_open and count_drawn(world) + 1 <= view.held - view.raised


def build_facts(world: World) -> PositionFacts:
    view = world.view
    state = PositionState(
        token_id=0,
        owner="owner",
        model_tier=0,
        daily_smoothing_bps=10_000,
        key_epoch=view.epoch,
        credited_usdc=CREDIT_USDC,
        spent_usdc=len(view.settled),
        withdrawn_usdc=view.withdrawn,
        hold_usdc=view.held,
        hold_expires_at_s=view.expires_s,
        release_requested_at_s=world.now_s if view.released else None,
    )
    due = find_due(world)
    current = [
        number
        for number, request in enumerate(world.requests)
        if request.epoch == view.epoch and number not in view.settled
    ]
    return PositionFacts(
        state=state,
        drawn_usdc=count_drawn(world),
        drawn_current_usdc=len(current),
        posted_usdc=len(due),
        posted_since_s=world.now_s if due else None,
        wanted_at_s=world.now_s,
    )


def find_due(world: World) -> frozenset[int]:
    answered = {number for number, request in enumerate(world.requests) if request.is_answered}
    return frozenset(answered - world.view.settled)


def decide(world: World) -> list[Transaction]:
    """Return what the keeper sends now. While anything of its own is on its way, it waits."""
    if not world.is_mirrored or any(t.kind in ("hold", "settle") for t in world.pool):
        return []
    facts = build_facts(world)
    first = 1 + max((t.nonce for t in (*world.block, *world.pool)), default=-1)
    sent: list[Transaction] = []
    settle = decide_settle(facts, SETTLE_RULES, now_s=world.now_s)
    if settle is not None:
        ids = sorted(find_due(world))[: settle.limit_usdc]
        sent.append(Transaction("settle", first, ids=frozenset(ids)))
    hold = decide_hold(facts, HOLD_RULES, now_s=world.now_s)
    if hold is not None:
        held = [world.view.live(world.now_s), *(t.amount for t in find_placements(world))]
        sent.append(
            Transaction(
                "hold",
                first + len(sent),
                amount=hold.amount_usdc,
                expires_s=hold.expires_at_s,
                epoch=hold.key_epoch,
                is_reduction=hold.amount_usdc < max(held),
            )
        )
    return sent


# ------------------------------------------------------------------------------------------ search


def next_worlds(world: World, rule: Grant, admits: Admit) -> Iterator[World]:
    yield from _requests_act(world, admits)
    sent = decide(world)
    if sent:
        yield send(world, sent)
    if world.is_mirrored:
        for acted in _owner_acts(world):
            for length in range(len(acted.pool) + 1):
                for block in permutations(sorted(acted.pool, key=repr), length):
                    if is_in_order(block, acted.pool) and acted.pool - world.pool <= set(block):
                        yield mine(acted, block, rule)
    else:
        yield replace(world, is_mirrored=True)
    if world.reorgs == 0 and world.block:
        yield reorganise(world)
    # Time passes while the keeper lives: what it has decided has landed, what runs has ended.
    is_calm = world.is_mirrored and not world.pool and not sent
    if is_calm and world.clock + 1 < len(TIMES_S) and all(r.is_answered for r in world.requests):
        yield pass_time(world)


def _owner_acts(world: World) -> Iterator[World]:
    """Let the owner send anything, or nothing, into the block that is made next."""
    for count in range(len(world.owner_may) + 1):
        for acts in combinations(world.owner_may, count):
            left = tuple(act for act in world.owner_may if act not in acts)
            pool = world.pool | {Transaction(act) for act in acts}
            yield replace(world, pool=pool, owner_may=left)


def _requests_act(world: World, admits: Admit) -> Iterator[World]:
    if world.requests_left > 0 and admits(world):
        requests = (*world.requests, Request(world.view.epoch))
        yield replace(world, requests=requests, requests_left=world.requests_left - 1)
    for number, request in enumerate(world.requests):
        if not request.is_answered:
            answered = replace(request, is_answered=True)
            requests = (*world.requests[:number], answered, *world.requests[number + 1 :])
            yield replace(world, requests=requests)
            break  # which of them ends first changes nothing that is counted


def is_paid_in_the_end(world: World, rule: Grant) -> bool:
    """Leave the keeper alone with what there is: is every answer settled?"""
    requests = tuple(replace(request, is_answered=True) for request in world.requests)
    world = replace(world, requests=requests, is_mirrored=True)
    for _ in range(len(TIMES_S) * 6):
        sent = decide(world)
        world = send(world, sent)
        pool = world.pool
        if len(find_due(world)) == 0:
            return True
        if not pool and world.clock + 1 < len(TIMES_S):
            world = pass_time(world)
            continue
        block = tuple(sorted(pool, key=lambda t: (t.nonce, repr(t))))
        world = replace(mine(world, block, rule), is_mirrored=True)
    return len(find_due(world)) == 0


def find_unpaid(start: World, rule: Grant, admits: Admit) -> tuple[World | None, int]:
    """Return a state from which something served stays unpaid, and how many states were seen."""
    seen, frontier = {start}, deque([start])
    while frontier:
        world = frontier.popleft()
        if not is_paid_in_the_end(world, rule):
            return world, len(seen)
        for after in map(renumber, next_worlds(world, rule, admits)):
            if after not in seen:
                seen.add(after)
                frontier.append(after)
        assert len(seen) < STATES_MAX, "the world is not as small as it was"
    return None, len(seen)


BUMPER: Final = World(owner_may=("bump", "withdraw"))
RELEASER: Final = World(owner_may=("release", "withdraw"))
ALL: Final = World(owner_may=("bump", "release", "withdraw"))


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(BUMPER, id="bump"),
        pytest.param(RELEASER, id="release"),
        pytest.param(replace(BUMPER, requests_left=2), id="bump-2", marks=pytest.mark.slow),
        pytest.param(replace(RELEASER, requests_left=2), id="release-2", marks=pytest.mark.slow),
        pytest.param(ALL, id="all", marks=pytest.mark.slow),
    ],
)
def test_every_interleaving__rules_as_they_are__nothing_served_stays_unpaid(start: World) -> None:
    unpaid, seen = find_unpaid(start, grant, admit)
    assert unpaid is None
    assert seen > 1_000, "the search did not get far"


def test_every_interleaving__stale_epoch_grants_nothing__the_owner_who_bumps_is_found() -> None:
    unpaid, _ = find_unpaid(BUMPER, grant_nothing_to_a_stale_epoch, admit)
    assert unpaid is not None
    assert "bump" not in unpaid.owner_may


def test_every_interleaving__placements_not_counted__the_reorged_release_is_found() -> None:
    unpaid, _ = find_unpaid(RELEASER, grant, admit_whatever_is_on_its_way)
    assert unpaid is not None
    assert unpaid.reorgs == 1
