"""Column types that hold what SQL integers cannot."""

from decimal import Decimal
from typing import Any

from sqlalchemy import NUMERIC, Dialect, String
from sqlalchemy.types import TypeDecorator, TypeEngine

from contracts.units import UINT256_MAX

_DIGITS = 78


class Uint256(TypeDecorator[int]):
    """An integer from 0 to 2**256 - 1, exact and ordered on every engine.

    ``NUMERIC(78, 0)`` on PostgreSQL. Zero-padded text on SQLite, whose NUMERIC would turn anything
    past 2**63 - 1 into a float; the padding keeps text order equal to number order.
    """

    impl = String(_DIGITS)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(NUMERIC(_DIGITS, 0))
        return dialect.type_descriptor(String(_DIGITS))

    def process_bind_param(self, value: int | None, dialect: Dialect) -> str | Decimal | None:
        if value is None:
            return None
        if not 0 <= value <= UINT256_MAX:
            raise ValueError(f"not a uint256: {value}")
        return Decimal(value) if dialect.name == "postgresql" else f"{value:0{_DIGITS}d}"

    def process_result_value(self, value: Any | None, _dialect: Dialect) -> int | None:
        return None if value is None else int(value)
