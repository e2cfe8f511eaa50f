"""What live traffic says about an offer, for nothing: counts that cannot be true.

Each answer is looked at once, as numbers; no text of a buyer is kept. Only requests that ask for
nothing unusual are looked at (``is_ordinary``): a buyer who chooses what its answer ends before,
which tokens it must have or what is shown of it could make an honest server look odd. Three
methods, each a yes or no an answer, of which an honest offer has at most ``HONEST_RATE`` yes:

==================  ================================================================================
prompt_tokens       by differences between requests of one shape (``count_differences``), where the
                    model's own vocabulary counts
completion_tokens   more tokens reported than bytes shown: tokens that nobody sees, of a model whose
                    makers and known companies report no such thing
logprobs            stated probabilities that are none: above one, or adding up to more
==================  ================================================================================

Anybody can buy, so nobody may say much: of one account ``ACCOUNT_LOOKS`` answers of an offer count
on a UTC day, and of all of them ``DAY_LOOKS`` by each method. Whatever they say, they have the
offer probed earlier and no more (``market.evidence.verdicts``).
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from math import exp
from typing import Any, Final

from market.evidence.count_differences import CountWatch
from market.evidence.verdicts import LIVE_METHODS, Method
from serving.process.ids import new_id

LIVE_TOLERANCE: Final = 0.15
"""How far a difference of prompt tokens may be off: templates clean texts, vocabularies split."""
LIVE_PART_MIN: Final = 0.5
"""How large a part of the longer prompt it must be."""
SLACK_TOKENS: Final = 64
"""Tokens of a choice that no byte of an answer shows, such as its end."""
ACCOUNT_LOOKS: Final = 4
DAY_LOOKS: Final = 16
COUNTED_ACCOUNT: Final = 4 * ACCOUNT_LOOKS
"""Prompts of one account that are counted for an offer on a day: a difference takes two or more."""
COUNTED_DAY: Final = 16 * DAY_LOOKS
KEPT_LOOKS: Final = 8
"""So many answers are written down together."""
KNOWN_LOOKS: Final = 20
"""Answers of makers and known companies from which it is known that a model shows all it makes."""
OFFERS_MAX: Final = 10_000
MESSAGES_MAX: Final = 64
FIELDS: Final = frozenset(
    {
        "model",
        "messages",
        "temperature",
        "top_p",
        "max_tokens",
        "max_completion_tokens",
        "stream",
        "stream_options",
        "n",
        "user",
        "seed",
    }
)
"""What a request may have that is looked at."""
ROLES: Final = frozenset({"system", "user", "assistant", "developer", "tool"})
_SUM_MAX: Final = 1.02
_LOGPROB_MAX: Final = 1e-4


@dataclass(frozen=True, slots=True)
class SeenAnswer:
    """One answer, in numbers."""

    shape: Hashable = None
    """Stands for the roles of its messages; None: its prompt was not counted."""
    prompt_counted: int | None = None
    prompt_reported: int | None = None
    completion_reported: int | None = None
    """Without what is stated as reasoning."""
    shown_bytes: int = 0
    choices: int = 1
    has_odd_logprobs: bool | None = None
    """None: there are none, or they were not looked at."""


@dataclass(frozen=True, slots=True)
class LiveBatch:
    """What one method has seen of an offer, to be written down."""

    offer_id: str
    method: Method
    hits: tuple[bool, ...]
    figures: tuple[tuple[int, ...], ...]
    """What each was told from: counted or shown, and reported."""
    evidence_id: str = field(default_factory=new_id)
    """By which it is written down once, however often that is tried."""


@dataclass(slots=True)
class _Watched:
    """One offer on one day."""

    counts: CountWatch = field(default_factory=lambda: CountWatch(LIVE_TOLERANCE, LIVE_PART_MIN))
    counted: Counter[str] = field(default_factory=Counter)
    """Prompts that were counted, by account: ``COUNTED_DAY`` at most."""
    looks: Counter[Method] = field(default_factory=Counter)
    accounts: Counter[tuple[str, Method]] = field(default_factory=Counter)
    open: dict[Method, list[tuple[bool, tuple[int, ...]]]] = field(
        default_factory=lambda: defaultdict(list)
    )


@dataclass(slots=True)
class LiveChecks:
    """Looks at answers, and gathers what they say."""

    day: int = 0
    watched: dict[str, _Watched] = field(default_factory=dict)
    shown_by_model: dict[str, tuple[int, int]] = field(default_factory=dict)
    """(answers of makers and known companies, those with more tokens than bytes), by model."""
    due: list[LiveBatch] = field(default_factory=list)

    def note_known(self, model: str, seen: SeenAnswer) -> None:
        """Learn from a maker's or a known company's answer whether a model shows all it makes."""
        if seen.completion_reported is not None:
            looks, over = self.shown_by_model.get(model, (0, 0))
            if model in self.shown_by_model or len(self.shown_by_model) < OFFERS_MAX:
                self.shown_by_model[model] = (looks + 1, over + _is_over(seen))

    def list_open(self, offer_id: str, account_id: str, *, day: int) -> frozenset[Method]:
        """Return by what an account's answers of an offer may still be looked at on a day."""
        if day != self.day:
            self._end_day(day)
        offer = self.watched.get(offer_id)
        if offer is None:
            return LIVE_METHODS if len(self.watched) < OFFERS_MAX else frozenset()
        return frozenset(one for one in LIVE_METHODS if self._may_look(offer, account_id, one))

    def note(
        self, offer_id: str, model: str, account_id: str, seen: SeenAnswer, *, day: int
    ) -> None:
        """Take in an answer of an offer that is to be looked at."""
        if day != self.day:
            self._end_day(day)
        offer = self.watched.get(offer_id)
        if offer is None:
            if len(self.watched) >= OFFERS_MAX:
                return
            offer = self.watched[offer_id] = _Watched()
        counted, reported = seen.prompt_counted, seen.prompt_reported
        may_count = self._may_look(offer, account_id, Method.PROMPT_TOKENS)
        if may_count and seen.shape is not None and counted is not None and reported is not None:
            offer.counted[account_id] += 1
            # By account too: nobody's request is held against another's.
            shape = (account_id, seen.shape)
            is_high = offer.counts.note(shape, counted=counted, reported=reported)
            figures = (counted, reported)
            self._keep(offer_id, offer, account_id, Method.PROMPT_TOKENS, is_high, figures)
        if seen.completion_reported is not None and self._shows_all(model):
            figures = (seen.shown_bytes, seen.completion_reported)
            is_over = _is_over(seen)
            self._keep(offer_id, offer, account_id, Method.COMPLETION_TOKENS, is_over, figures)
        is_odd = seen.has_odd_logprobs
        self._keep(offer_id, offer, account_id, Method.LOGPROBS, is_odd, ())

    def take_due(self) -> list[LiveBatch]:
        """Return what is to be written down, once."""
        due, self.due = self.due, []
        return due

    def _shows_all(self, model: str) -> bool:
        looks, over = self.shown_by_model.get(model, (0, 0))
        return looks >= KNOWN_LOOKS and over * 100 <= looks

    def _may_look(self, offer: _Watched, account_id: str, method: Method) -> bool:
        if method is Method.PROMPT_TOKENS and (
            offer.counted[account_id] >= COUNTED_ACCOUNT or offer.counted.total() >= COUNTED_DAY
        ):
            return False
        is_free = offer.looks[method] < DAY_LOOKS
        return is_free and offer.accounts[account_id, method] < ACCOUNT_LOOKS

    def _keep(
        self,
        offer_id: str,
        offer: _Watched,
        account_id: str,
        method: Method,
        is_hit: bool | None,
        figures: tuple[int, ...],
    ) -> None:
        if is_hit is None or not self._may_look(offer, account_id, method):
            return
        offer.looks[method] += 1
        offer.accounts[account_id, method] += 1
        seen = offer.open[method]
        seen.append((is_hit, figures))
        if len(seen) >= KEPT_LOOKS:
            self._close(offer_id, offer, method)

    def _close(self, offer_id: str, offer: _Watched, method: Method) -> None:
        seen = offer.open.pop(method)
        hits, figures = tuple(hit for hit, _ in seen), tuple(told for _, told in seen)
        self.due.append(LiveBatch(offer_id, method, hits, figures))

    def _end_day(self, day: int) -> None:
        for offer_id, offer in self.watched.items():
            for method in list(offer.open):
                self._close(offer_id, offer, method)
        self.watched.clear()
        self.day = day


def _is_over(seen: SeenAnswer) -> bool:
    assert seen.completion_reported is not None
    return seen.completion_reported > seen.shown_bytes + SLACK_TOKENS * seen.choices


def is_ordinary(body: Mapping[str, Any]) -> bool:
    """Tell whether a chat request has only ``FIELDS``, and a few messages of plain text."""
    messages = body.get("messages")
    if set(body) - FIELDS or not isinstance(messages, list) or len(messages) > MESSAGES_MAX:
        return False
    return all(_is_plain(message) for message in messages)


def _is_plain(message: Any) -> bool:
    if not isinstance(message, dict) or set(message) != {"role", "content"}:
        return False
    role, content = message["role"], message["content"]
    return isinstance(role, str) and role in ROLES and isinstance(content, str)


def find_shape(body: Mapping[str, Any]) -> tuple[Hashable, str]:
    """Return what stands for the roles of an ordinary request, and its text."""
    messages = body["messages"]
    roles = " ".join(message["role"] for message in messages)
    text = "\n".join(message["content"] for message in messages)
    return sha256(roles.encode()).digest()[:16], text


def has_odd_logprobs(parsed: Mapping[str, Any]) -> bool | None:
    """Tell whether a whole answer's probabilities are none; None where it says nothing of them.

    ::

        a logarithm above 0       no probability
        together more than 1      no distribution
        none, or no number        nothing can be told of it

    They come in any order: some servers list the token that was drawn before the likeliest.
    """
    choices = parsed.get("choices")
    found = False
    for choice in choices if isinstance(choices, list) else ():
        logprobs = choice.get("logprobs") if isinstance(choice, dict) else None
        tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
        for token in tokens if isinstance(tokens, list) else ():
            if not isinstance(token, dict):
                continue
            top = token.get("top_logprobs")
            listed = _read_logprobs(top if isinstance(top, list) else [])
            stated = [*_read_logprobs([token]).values(), *listed.values()]
            found = found or bool(stated)
            if any(one > _LOGPROB_MAX for one in stated):
                return True
            if sum(exp(max(-700.0, one)) for one in listed.values()) > _SUM_MAX:
                return True
    return False if found else None


def _read_logprobs(listed: list[Any]) -> dict[Hashable, float]:
    """Return what is stated, a token once, by its text where it has one."""
    found: dict[Hashable, float] = {}
    for place, one in enumerate(listed):
        logprob = one.get("logprob") if isinstance(one, dict) else None
        if logprob is not None and _is_number(logprob):
            name = one.get("token")
            found[name if isinstance(name, str) else place] = logprob
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
