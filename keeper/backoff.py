"""How long what fails, or is not worth it, is left alone. Pure.

What is remembered of a due harvest is in the ledger: a keeper that runs once an hour, or whose
thousands of poor positions are all due, must not look at the same ones every time.
"""

from collections.abc import Iterable
from typing import Final

from contracts.units import mul_div_up
from keeper.decide import get_harvest_worth_usdc
from keeper.facts import HarvestQuote, HarvestRest, Rules, Snapshot

REST_DOUBLINGS_MAX: Final = 6


def get_rest_s(rest_s: int, *, failures: int) -> int:
    """Return a rest that doubles with each failure in a row before this one, up to a bound."""
    return rest_s << min(failures, REST_DOUBLINGS_MAX)


def decide_rests(snapshot: Snapshot, chosen: Iterable[int], rules: Rules) -> list[HarvestRest]:
    """Return when each due position of a snapshot is looked at again, ascending by token id.

    ``chosen``: the positions that are harvested now. A success moves their due time by itself, once
    it is mirrored. All times are the chain's.
    """
    sent = set(chosen)
    worth_usdc = get_harvest_worth_usdc(snapshot, rules)
    rests: list[HarvestRest] = []
    for quote in snapshot.harvests:
        failures = quote.failures if quote.is_suspect else 0
        if quote.token_id in sent:
            rest_s = get_rest_s(rules.harvest_recheck_s, failures=failures)
            failures += quote.is_suspect
        elif quote.credited_usdc >= worth_usdc:
            rest_s = 0  # no room this time
        else:
            rest_s = _predict_rest_s(quote, snapshot, rules, worth_usdc=worth_usdc)
        rests.append(HarvestRest(quote.token_id, snapshot.mirrored_at_s + rest_s, failures))
    for quote in snapshot.harvests_refused:
        rest_s = get_rest_s(rules.harvest_recheck_s, failures=quote.failures)
        look_at_s = snapshot.mirrored_at_s + rest_s
        rests.append(HarvestRest(quote.token_id, look_at_s, quote.failures + 1))
    return sorted(rests, key=lambda rest: rest.token_id)


def _predict_rest_s(
    quote: HarvestQuote, snapshot: Snapshot, rules: Rules, *, worth_usdc: int
) -> int:
    """Return in how long the yield, growing as it did so far, will be worth a harvest.

    It may grow faster, so that a rest is never longer than what has passed since the last harvest
    or than the age at which it is made at a loss.
    """
    now_s = snapshot.mirrored_at_s
    grown_s = max(0, now_s - quote.last_harvest_at_s)
    rest_s = min(grown_s, rules.harvest_max_age_s)
    if quote.credited_usdc > 0:
        missing_usdc = worth_usdc - quote.credited_usdc
        rest_s = min(rest_s, mul_div_up(grown_s, missing_usdc, quote.credited_usdc))
    if quote.credited_usdc >= rules.harvest_min_usdc:
        rest_s = min(rest_s, max(0, quote.due_at_s + rules.harvest_max_age_s - now_s))
    return max(rules.harvest_recheck_s, rest_s)
