"""What the routes of suppliers and reviewers work with."""

from dataclasses import dataclass

from market.suppliers.callers import SupplierCallers


@dataclass(frozen=True)
class SupplierServices:
    """Everything of suppliers that lives as long as the application runs."""

    callers: SupplierCallers
