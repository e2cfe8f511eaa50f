"""All checks. A module of checks is imported here, in the order in which its checks are made."""

from typing import Final

from scripts.doctor import (
    contract_checks,
    host_checks,
    key_checks,
    ledger_checks,
    node_checks,
    running_checks,
    service_checks,
    settings_checks,
)
from scripts.doctor.examination import CHECKS, Check

_ORDER: Final = (
    settings_checks,
    node_checks,
    contract_checks,
    key_checks,
    ledger_checks,
    host_checks,
    service_checks,
    running_checks,
)
_PLACES: Final = {module.__name__: place for place, module in enumerate(_ORDER)}

ALL_CHECKS: Final[tuple[Check, ...]] = tuple(
    sorted(CHECKS, key=lambda one: _PLACES[one.look.__module__])
)
"""Every check there is."""
