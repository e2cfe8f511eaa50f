"""The sections that a supplier fills in: the company, its owners, where its compute comes from.
Pure.

What is saved may have gaps, which ``market.suppliers.kyb_requirements`` lists; what is there must
be right. Owners are whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from market.suppliers.application_form import SOURCES, TOKENS_MAX
from market.suppliers.fields import Fields
from market.suppliers.identity_numbers import ID_TYPES, IdentityNumber, read_identity_number
from serving.http.errors import RequestRejected, bad_request

ENTITY: Final = "entity"
OWNERS: Final = "owners"
SOURCE: Final = "source"
SECTIONS: Final = (ENTITY, OWNERS, SOURCE)
ENTITY_FIELDS: Final = (
    "legal_name",
    "jurisdiction",
    "registration_number",
    "incorporated_on",
    "address",
)
SOURCE_FIELDS: Final = (
    "source_of_compute",
    "providers",
    "legal_basis",
    "contract_holder",
    "contract_reference",
    "expected_monthly_tokens",
    "no_personal_accounts",
)
OWNER_FIELDS: Final = (
    "owner_id",
    "legal_name",
    "nationality",
    "id_type",
    "id_number",
    "role",
    "share_pct",
)
REPRESENTATIVE: Final = "legal_representative"
OWNER: Final = "beneficial_owner"
BOTH: Final = "representative_and_owner"
ROLES: Final = (REPRESENTATIVE, OWNER, BOTH)
OWNERS_MAX: Final = 20
SHARE_MIN_BPS: Final = 1_000
SHARES_MAX_BPS: Final = 10_000
ID_TEXT_MAX: Final = 60


@dataclass(frozen=True, slots=True)
class OwnerEntry:
    """An owner as it was sent."""

    owner_id: str | None
    """One that was saved before; None: a new one."""
    legal_name: str
    nationality: str
    id_type: str
    number: IdentityNumber | None
    """None: the number that was saved before stays."""
    role: str
    share_bps: int


def read_entity(body: Any, *, today: date) -> dict[str, Any]:
    """Return the section of the company. Raises 400."""
    fields = Fields(body, ENTITY_FIELDS, where=ENTITY)
    return {
        "legal_name": fields.text("legal_name", length_max=200, is_needed=False),
        "jurisdiction": fields.country("jurisdiction", is_needed=False),
        "registration_number": fields.text("registration_number", length_max=60, is_needed=False),
        "incorporated_on": fields.day("incorporated_on", until=today, is_needed=False),
        "address": fields.paragraphs("address", length_max=500, is_needed=False),
    }


def read_source(body: Any) -> dict[str, Any]:
    """Return the section of where the compute comes from. Raises 400."""
    fields = Fields(body, SOURCE_FIELDS, where=SOURCE)
    return {
        "source_of_compute": fields.choice("source_of_compute", SOURCES, is_needed=False),
        "providers": fields.texts("providers", count_max=20, length_max=100, is_needed=False),
        "legal_basis": fields.paragraphs("legal_basis", length_max=4_000, is_needed=False),
        "contract_holder": fields.text("contract_holder", length_max=200, is_needed=False),
        "contract_reference": fields.text("contract_reference", length_max=200, is_needed=False),
        "expected_monthly_tokens": fields.integer(
            "expected_monthly_tokens", low=1, high=TOKENS_MAX, is_needed=False
        ),
        "no_personal_accounts": fields.flag("no_personal_accounts"),
    }


def read_owners(body: Any) -> list[OwnerEntry]:
    """Return the owners and representatives. Raises 400.

    At most 20; whoever owns has at least 10 %; together at most 100 %.
    """
    entries = Fields({OWNERS: body}, (OWNERS,)).list_of(OWNERS, count_max=OWNERS_MAX)
    owners = [_read_owner(entry, f"{OWNERS}[{index}]") for index, entry in enumerate(entries)]
    if sum(owner.share_bps for owner in owners) > SHARES_MAX_BPS:
        raise shares_wrong("The owners' shares are more than 100 per cent together.")
    known = [owner.owner_id for owner in owners if owner.owner_id is not None]
    if len(set(known)) < len(known):
        raise bad_request("owner_twice", "An owner_id is there twice.", param=OWNERS)
    return owners


def _read_owner(entry: Any, where: str) -> OwnerEntry:
    fields = Fields(entry, OWNER_FIELDS, where=where)
    nationality = str(fields.country("nationality"))
    id_type = str(fields.choice("id_type", ID_TYPES))
    role = str(fields.choice("role", ROLES))
    share_bps = fields.share_bps("share_pct")
    if share_bps < SHARE_MIN_BPS and (share_bps > 0 or role != REPRESENTATIVE):
        raise shares_wrong("An owner has at least 10 per cent.", f"{where}.share_pct")
    owner_id = fields.text("owner_id", length_max=64, is_needed=False)
    number = None
    if fields.has("id_number"):
        said = fields.get("id_number")
        if isinstance(said, str) and len(said) <= ID_TEXT_MAX:
            number = read_identity_number(said, country=nationality, id_type=id_type)
        if number is None:
            raise id_number_wrong(f"{where}.id_number")
    elif owner_id is None:
        raise bad_request(
            "field_missing", f"'{where}.id_number' is missing.", param=f"{where}.id_number"
        )
    return OwnerEntry(
        owner_id=owner_id,
        legal_name=str(fields.text("legal_name", length_max=200)),
        nationality=nationality,
        id_type=id_type,
        number=number,
        role=role,
        share_bps=share_bps,
    )


def find_changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the fields that two versions of a section have otherwise."""
    return sorted(
        name for name in before.keys() | after.keys() if before.get(name) != after.get(name)
    )


def shares_wrong(message: str, param: str = OWNERS) -> RequestRejected:
    """400: the owners' shares break a rule."""
    return bad_request("shares_wrong", message, param=param)


def id_number_wrong(param: str) -> RequestRejected:
    """400: what is there cannot be an identity number of its type. The number is not repeated."""
    message = f"'{param}' cannot be a number of this type in this country."
    return bad_request("id_number_wrong", message, param=param)
