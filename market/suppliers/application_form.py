"""What an applicant says before there is an account. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from market.suppliers.emails import read_email
from market.suppliers.fields import Fields

APPLICATION_FIELDS: Final = (
    "legal_name",
    "country",
    "website",
    "contact_name",
    "email",
    "source_of_compute",
    "providers",
    "expected_monthly_tokens",
)
SOURCES: Final = (
    "enterprise_contract",
    "partnership",
    "hackathon_allocation",
    "own_hardware",
    "other",
)
"""Where compute comes from. Personal accounts are not among them."""
TOKENS_MAX: Final = 10**15


@dataclass(frozen=True, slots=True)
class Application:
    """An application: where to write to, and what was said."""

    email: str
    content: Mapping[str, Any]


def read_application(body: Any) -> Application:
    """Return what the form says. Raises 400."""
    fields = Fields(body, APPLICATION_FIELDS)
    return Application(
        email=read_email(fields.get("email")),
        content={
            "legal_name": fields.text("legal_name", length_max=200),
            "country": fields.country("country"),
            "website": fields.url("website"),
            "contact_name": fields.text("contact_name", length_max=200),
            "source_of_compute": fields.choice("source_of_compute", SOURCES),
            "providers": fields.texts("providers", count_max=20, length_max=100),
            "expected_monthly_tokens": fields.integer(
                "expected_monthly_tokens", low=1, high=TOKENS_MAX
            ),
        },
    )
