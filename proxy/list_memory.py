"""The list last heard from upstream, kept in the ledger for a proxy that starts while it is down.

Lists are kept when they name other models than before, else every ``KEPT_EVERY_S``: their prices
change more often, and count only for a while.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import structlog

from contracts.errors import CurrentError
from ledger.database.on_loop import LoopLedger
from ledger.upstream_lists import HeardList, load_list, save_list
from serving.models.grades import Grade

log = structlog.get_logger("proxy")

KEPT_EVERY_S: Final = 300
LIST_CHARACTERS_MAX: Final = 4 * 1024**2
"""A longer list is not kept."""
MODEL_FIELDS: Final = (
    "id",
    "owned_by",
    "context_length",
    "max_model_len",
    "context_window",
    "context_tokens",
)
"""What of a model's entry is used, and so kept."""
PRICE_FIELDS: Final = (
    "id",
    "input_usdc_per_mtok",
    "output_usdc_per_mtok",
    "cached_input_usdc_per_mtok",
    "per_request_usdc",
    "tiers",
    "context_tokens",
    "image_tokens",
    "updated_at",
    "reference",
)

Entries = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Heard:
    """What upstream said, and when (Unix seconds)."""

    models: Entries
    prices: Entries
    at_s: int


class ListMemory:
    """Keeps one newest list of an upstream. Its failures are logged: nobody waits for them."""

    def __init__(
        self, ledger: LoopLedger, upstream_url: str, *, below: Grade | None = None
    ) -> None:
        """``below``: the list goes down to this grade, which is lower than the operator's."""
        self._ledger = ledger
        told = upstream_url if below is None else f"{upstream_url} {below}"
        self._digest = sha256(told.encode()).hexdigest()
        self._kept_names: frozenset[str] = frozenset()
        self._kept_at = float("-inf")

    def keep(self, heard: Heard) -> None:
        """Keep what upstream said just now, unless much the same is kept already."""
        names = frozenset(str(entry["id"]) for entry in heard.models)
        if names == self._kept_names and time.monotonic() - self._kept_at < KEPT_EVERY_S:
            return
        self._kept_names, self._kept_at = names, time.monotonic()
        models, prices = _write(heard.models, MODEL_FIELDS), _write(heard.prices, PRICE_FIELDS)
        if len(models) + len(prices) > LIST_CHARACTERS_MAX:
            log.warning("catalogue_not_kept", characters=len(models) + len(prices))
            return
        kept = HeardList(self._digest, models, prices, heard.at_s)
        self._ledger.submit_and_forget(lambda connection: save_list(connection, kept))

    async def recall(self) -> Heard | None:
        """Return the list that any proxy of the ledger has heard last, None where none is kept."""
        digest = self._digest
        try:
            kept = await self._ledger.read(lambda connection: load_list(connection, digest))
        except CurrentError as error:
            log.warning("catalogue_not_recalled", error=str(error))
            return None
        if kept is None:
            return None
        return Heard(json.loads(kept.models), json.loads(kept.prices), kept.heard_at_s)


def _write(entries: Entries, names: Sequence[str]) -> str:
    kept = [{name: entry[name] for name in names if name in entry} for entry in entries]
    return json.dumps(kept, separators=(",", ":"))
