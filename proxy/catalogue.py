"""Which models there are, live from upstream, and what each costs."""

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import structlog

from proxy.chat.upstream import Upstream
from proxy.chat.upstream_errors import translate
from proxy.list_memory import Heard, ListMemory
from serving.models.failures import UpstreamError
from serving.models.grades import Grade
from serving.models.names import is_model_name
from serving.models.references import References
from serving.models.terms import Terms

log = structlog.get_logger("proxy")

FRESH_S: Final = 2.0
"""A list younger than this is shown as it is; an older one is fetched again first."""
EXPIRED_S: Final = 0.5
"""How old a list must be to be asked for again because a price in it has expired."""

PROBE_TIMEOUT_S: Final = 1.5
"""How long upstream may take to list its models and count as reachable, in seconds."""

MODELS_MAX: Final = 20_000
NEW_MODELS_MAX: Final = 2_000
"""Models of a list that neither the operator nor the data set has by name; at a market, anybody may
name one. They come after the others, and further ones are left out."""
KNOWN_GOOD: Final = (
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-4.1",
    "gpt-4.1-mini",
    "claude-sonnet-4-5",
    "claude-haiku-4-5",
    "gemini-2.5-pro",
    "gemini-2.5-flash",
    "deepseek-chat",
    "mistral-large-latest",
)
"""The models that are listed while upstream has never answered and the operator names none."""

_CONTEXT_FIELDS: Final = ("context_length", "max_model_len", "context_window", "context_tokens")


@dataclass(frozen=True, slots=True)
class Model:
    """One model; ``terms`` is None where its price is unknown."""

    model_id: str
    owned_by: str
    terms: Terms | None
    context_tokens: int | None


@dataclass(frozen=True, slots=True)
class CatalogueState:
    """The models at one moment. ``fallback``: upstream did not say, so the list may be wrong."""

    models: Mapping[str, Model] = field(default_factory=lambda: MappingProxyType({}))
    fallback: bool = True
    fetched_at: float = float("-inf")
    """On the monotonic clock."""
    valid_until_s: int | None = None
    """When the price of a model changes next (Unix seconds), where one is known to."""


class Catalogue:
    """Keeps the newest list of models; the request path reads it without waiting."""

    def __init__(
        self,
        upstream: Upstream,
        prices: References,
        memory: ListMemory,
        *,
        now_s: Callable[[], int],
        minimum_grade: Grade | None = None,
    ) -> None:
        """``now_s`` is the ledger's clock: prices change by the hour and the date.

        ``minimum_grade``: whose models a market is asked for; None: those that serve by the
        operator's settings. ``prices`` and ``memory`` are of no other list.
        """
        self._minimum_grade = minimum_grade
        self._memory = memory
        self._has_list = False
        """Whether there is a list that upstream has said, now or before this process started."""
        self._upstream = upstream
        self.now_s = now_s
        self.prices = prices
        self._lock = asyncio.Lock()
        self._probing = asyncio.Lock()
        self._probed: tuple[float, bool] = (float("-inf"), False)
        """When upstream was last asked whether it answers, on the monotonic clock; whether."""
        self._entries: Sequence[Mapping[str, Any]] = [{"id": name} for name in prices.operator]
        self._snapshot = self._build(fallback=True, fetched_at=float("-inf"))

    @property
    def has_asked(self) -> bool:
        """Whether upstream was asked for the list, whatever it answered."""
        return self._snapshot.fetched_at > float("-inf")

    @property
    def listed(self) -> Collection[Model]:
        """The models to show. Before upstream's first word they are a small list of known ones.

        Requests go by ``snapshot``: a model that upstream has never listed is not asked for.
        """
        known = self.snapshot
        if known.models or not known.fallback:
            return known.models.values()
        return self._build_models([{"id": name} for name in KNOWN_GOOD]).values()

    @property
    def snapshot(self) -> CatalogueState:
        """The newest list, at the prices of this moment: some change by the hour and the date."""
        until_s = self._snapshot.valid_until_s
        if until_s is not None and self.now_s() >= until_s:
            known = self._snapshot
            self._snapshot = self._build(fallback=known.fallback, fetched_at=known.fetched_at)
        return self._snapshot

    async def load_current(self) -> CatalogueState:
        """Return the list once all of upstream's prices in it still count.

        Where upstream said of a price until when it stands, and that time has come, it is asked
        again first: a ceiling must not be of a price that has risen since. Never raises.
        """
        until_s = self.prices.upstream_until_s
        if until_s is not None and self.now_s() >= until_s:
            await self.refresh(older_than_s=EXPIRED_S)
        return self.snapshot

    async def refresh(self, *, older_than_s: float = 0.0) -> CatalogueState:
        """Fetch the list again unless it is young. Never raises: see ``CatalogueState.fallback``.

        While upstream is down the last list stands, also one that was heard before this process
        started; before the first, the operator's price file.
        """
        async with self._lock:
            if time.monotonic() - self.snapshot.fetched_at < older_than_s:
                return self.snapshot
            try:
                entries = await self._upstream.fetch_models(self._minimum_grade)
                prices = await self._upstream.fetch_prices(self._minimum_grade)
            except UpstreamError as error:
                if not self.snapshot.fallback:
                    log.warning("catalogue_lost", code=translate(error).code)
                fallback = True
                if not self._has_list:
                    await self._recall()
            else:
                self._entries, fallback, self._has_list = self._choose(entries), False, True
                if prices is not None:
                    listed = {entry["id"] for entry in self._entries}
                    prices = [entry for entry in prices if entry.get("id") in listed]
                    self.prices.note_upstream(prices, now_s=self.now_s())
                    self._memory.keep(Heard(self._entries, prices, self.now_s()))
                if self.snapshot.fallback:
                    log.info("catalogue_loaded", models=len(self._entries))
            # Built again also while upstream is down: what it said of prices grows old.
            self._snapshot = self._build(fallback=fallback, fetched_at=time.monotonic())
            return self._snapshot

    def _choose(self, entries: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Return the entries that are listed: known models first, then as many new as may be."""
        known: list[Mapping[str, Any]] = []
        new: list[Mapping[str, Any]] = []
        for entry in entries:
            (known if self.prices.is_named(entry["id"]) else new).append(entry)
        if len(new) > NEW_MODELS_MAX:
            log.warning("catalogue_cut", models=len(entries), left_out=len(new) - NEW_MODELS_MAX)
        return (known + new[:NEW_MODELS_MAX])[:MODELS_MAX]

    async def _recall(self) -> None:
        """Take the list that was last heard, at the prices that it had then."""
        heard = await self._memory.recall()
        if heard is None:
            return
        self._entries, self._has_list = heard.models, True
        self.prices.note_upstream(heard.prices, now_s=heard.at_s)
        log.info("catalogue_recalled", models=len(heard.models), heard_at_s=heard.at_s)

    async def is_reachable(self) -> bool:
        """Tell whether upstream lists its models now, by an answer that is at most 2 s old.

        Waits for ``PROBE_TIMEOUT_S`` at most. Never raises. What monitors are told must not be as
        old as the list of models may be.
        """
        async with self._probing:
            if time.monotonic() - self._probed[0] >= FRESH_S:
                self._probed = (time.monotonic(), await self._probe())
            return self._probed[1]

    async def _probe(self) -> bool:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                await self._upstream.fetch_models()
                if self.snapshot.fallback:
                    # Requests go by the list.
                    await self.refresh()
                return not self.snapshot.fallback
        except (UpstreamError, TimeoutError):
            return False

    async def find_unknown(self, names: Iterable[str]) -> tuple[list[str], CatalogueState]:
        """Return which names no model has, and the list that says so.

        The list is fetched again before a name counts as unknown, unless it is young.
        """
        wanted, snapshot = list(names), self.snapshot
        if any(name not in snapshot.models for name in wanted):
            snapshot = await self.refresh(older_than_s=FRESH_S)
        return [name for name in wanted if name not in snapshot.models], snapshot

    def _build(self, *, fallback: bool, fetched_at: float) -> CatalogueState:
        models = self._build_models(self._entries)
        ends = (model.terms.valid_until_s for model in models.values() if model.terms is not None)
        valid_until_s = min((end for end in ends if end is not None), default=None)
        return CatalogueState(MappingProxyType(models), fallback, fetched_at, valid_until_s)

    def _build_models(self, entries: Sequence[Mapping[str, Any]]) -> dict[str, Model]:
        models, now_s = {}, self.now_s()
        for entry in entries:
            model_id = entry["id"]
            if not is_model_name(model_id):
                continue  # it goes into a header
            terms = self.prices.find_terms(model_id, now_s=now_s)
            owner = entry.get("owned_by")
            models[model_id] = Model(
                model_id=model_id,
                owned_by=owner if isinstance(owner, str) else "unknown",
                terms=terms,
                context_tokens=_read_context(entry, terms),
            )
        return models


def _read_context(entry: Mapping[str, Any], terms: Terms | None) -> int | None:
    """Return the context: the operator's word, else upstream's, else the data set's."""
    if terms is not None and terms.source == "operator" and terms.context_tokens is not None:
        return terms.context_tokens
    for name in _CONTEXT_FIELDS:
        value = entry.get(name)
        if type(value) is int and value > 0:
            return value
    return None if terms is None else terms.context_tokens
