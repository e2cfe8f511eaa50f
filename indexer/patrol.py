"""Comparing the mirror with the contracts' views beside following the chain, a part at a time."""

from typing import Final

from sqlalchemy import Engine

from contracts.deployment import Deployment
from contracts.node_errors import NodeFailure, NodeRefused
from contracts.reader import ChainReader
from indexer.health import Health
from indexer.verify import compare_chunk

REFUSALS_MAX: Final = 5
"""How often a node may refuse to show views before the mirror is believed without them."""


class Patrol:
    """Goes through all positions once, a part at a time, when the mirror has nothing else to do."""

    def __init__(
        self, engine: Engine, reader: ChainReader, deployment: Deployment, health: Health
    ) -> None:
        self._engine = engine
        self._reader = reader
        self._deployment = deployment
        self._health = health
        self._after: int | None = -1
        self._wrong: set[int] = set()
        self._refusals = 0

    @property
    def is_due(self) -> bool:
        """Tell whether there are positions that were not compared since ``restart``."""
        return self._after is not None

    def restart(self) -> None:
        """Begin again with the first position."""
        self._after = -1
        self._wrong = set()

    def step(self) -> set[int] | None:
        """Compare the next positions. At the end return those that differ; None before that."""
        assert self._after is not None
        try:
            chunk = compare_chunk(self._engine, self._reader, self._deployment, after=self._after)
            self._after, found, self._refusals = chunk.last, chunk.differences, 0
        except NodeRefused as error:
            self._health.note_failure("any", error.failure, f"views: {error}")
            self._refusals += 1
            if self._refusals < REFUSALS_MAX:
                return None
            # A node that has no views to show is not the mirror's fault.
            self._after, self._refusals, found = None, 0, []
        for difference in found[:5]:
            self._health.note_failure("any", NodeFailure.PARTIAL_LOGS, str(difference))
        self._wrong |= {one.token_id for one in found if one.token_id is not None}
        return self._wrong if self._after is None else None
