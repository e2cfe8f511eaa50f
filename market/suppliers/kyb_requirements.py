"""What is still to be done before a supplier can be approved: a list that a page shows as it is.
Pure.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from market.suppliers.kyb_form import BOTH, ENTITY, OWNERS, REPRESENTATIVE, SOURCE

REQUIRED_DOCUMENTS: Final = ("business_license", "bank_proof", "tax_clearance")
DOCUMENT_KINDS: Final = (*REQUIRED_DOCUMENTS, "business_history")
_ENTITY_NEEDED: Final = ("legal_name", "jurisdiction", "registration_number")
_SOURCE_NEEDED: Final = ("source_of_compute", "providers", "legal_basis", "contract_holder")

REQUIREMENTS: Final = frozenset(
    {
        *(f"{ENTITY}.{name}" for name in (*_ENTITY_NEEDED, "incorporated_on", "address")),
        OWNERS,
        f"{OWNERS}.{REPRESENTATIVE}",
        *(f"{SOURCE}.{name}" for name in (*_SOURCE_NEEDED, "no_personal_accounts")),
        f"{SOURCE}.contract_reference",
        f"{SOURCE}.expected_monthly_tokens",
        *(f"documents.{kind}" for kind in DOCUMENT_KINDS),
    }
)
"""Everything that a reviewer may ask to have put right."""


@dataclass(frozen=True, slots=True)
class RequirementError:
    """Something that a reviewer, or a rule, found wrong."""

    requirement: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Requirements:
    """What is due, what is being looked at, what is wrong."""

    currently_due: Sequence[str] = ()
    pending_review: Sequence[str] = ()
    errors: Sequence[RequirementError] = field(default=())


def find_requirements(
    *,
    status: str,
    entity: Mapping[str, Any],
    owner_roles: Sequence[str],
    source: Mapping[str, Any],
    documents: Collection[str],
    decided: Sequence[Mapping[str, str]],
    is_answered: bool = False,
) -> Requirements:
    """Return what a supplier has to do.

    ``documents``: the kinds that are there. ``decided``: the items of the last decision, each with
    ``requirement``, ``code`` and ``text``; they count until the next submission. ``is_answered``:
    it is suspended, and has submitted again since.
    """
    due = [f"{ENTITY}.{name}" for name in _ENTITY_NEEDED if not entity.get(name)]
    if not owner_roles:
        due.append(OWNERS)
    elif not {REPRESENTATIVE, BOTH} & set(owner_roles):
        due.append(f"{OWNERS}.{REPRESENTATIVE}")
    due += [f"{SOURCE}.{name}" for name in _SOURCE_NEEDED if not source.get(name)]
    if not source.get("no_personal_accounts"):
        due.append(f"{SOURCE}.no_personal_accounts")
    due += [f"documents.{kind}" for kind in REQUIRED_DOCUMENTS if kind not in documents]
    if status == "approved":
        return Requirements()
    errors = [RequirementError(item["requirement"], item["code"], item["text"]) for item in decided]
    if status == "under_review" or is_answered:
        return Requirements(pending_review=(ENTITY, OWNERS, SOURCE, "documents"))
    if status == "rejected":
        return Requirements(errors=errors)
    return Requirements(currently_due=due, errors=errors)
