"""What a request wants to reserve."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is reserved before upstream is called. Amounts in 1e-6 USDC, prices per 1e6 tokens."""

    request_id: str
    token_id: int
    key_epoch: int
    key_id: str
    model: str
    ceiling_usdc: int
    input_usdc_per_mtok: int
    output_usdc_per_mtok: int
    cached_input_usdc_per_mtok: int | None = None
    """Of prompt tokens that the provider had cached; None = as any other. The ceiling, which is
    reserved before anybody knows, never counts on it."""

    def as_row(self) -> tuple[Any, ...]:
        """Return the values in the order of ``RESERVATION_COLUMNS``."""
        return (
            self.request_id,
            self.token_id,
            self.key_epoch,
            self.key_id,
            self.model,
            self.ceiling_usdc,
            self.input_usdc_per_mtok,
            self.output_usdc_per_mtok,
            self.cached_input_usdc_per_mtok,
        )
