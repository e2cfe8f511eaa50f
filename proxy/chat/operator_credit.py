"""Whether the operator's own credit with the model's provider is spent: learned from requests.

While it is, no request can be served until a person pays: readiness, a metric and an alarm in the
log say so.
"""

import time
from collections.abc import Callable
from typing import Final

import structlog

log = structlog.get_logger("proxy")

REMEMBERED_S: Final = 60.0
"""How long a refusal counts without another: a server that nobody asks any more must be asked
again to learn that the credit is back."""
ALARM: Final = "operator_credit_spent"


class OperatorCredit:
    """What the provider last said of the operator's credit. ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refused_at_s: float | None = None

    @property
    def is_spent(self) -> bool:
        """Whether the provider refused for want of credit, and has served nothing since."""
        refused_at_s = self._refused_at_s
        return refused_at_s is not None and self._clock() - refused_at_s < REMEMBERED_S

    def note_refused(self) -> None:
        """Note that the provider refused a request for want of credit."""
        if not self.is_spent:
            log.error("alarm", alarm=ALARM)
        self._refused_at_s = self._clock()

    def note_served(self) -> None:
        """Note that the provider served a request."""
        if self._refused_at_s is not None:
            log.info("alarm_over", alarm=ALARM)
            self._refused_at_s = None
