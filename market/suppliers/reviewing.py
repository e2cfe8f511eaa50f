"""Reviews of suppliers: looking, and deciding on a version."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from ledger.suppliers.accounts import (
    SupplierRecord,
    find_supplier,
    load_supplier,
    lock_supplier,
    open_supplier,
    set_kyb_status,
    set_role,
)
from ledger.suppliers.filings import load_submissions, set_erase_date
from ledger.suppliers.identities import share_an_identity
from ledger.suppliers.mails import NewMail, enqueue_mail
from ledger.suppliers.reviews import (
    load_decisions,
    note_audit,
    save_decision,
    set_approved_names,
)
from market.errors import not_found
from market.suppliers.emails import find_mailbox
from market.suppliers.fields import Fields
from market.suppliers.kyb_requirements import REQUIREMENTS
from serving.http.errors import NO_RETRY, RequestRejected, bad_request
from serving.process.ids import new_id

COMMAND_LINE: Final = "command line"
ITEMS_MAX: Final = 50
APPROVE: Final = "approve"
REVISE: Final = "revise"
REJECT: Final = "reject"
SUSPEND: Final = "suspend"
REINSTATE: Final = "reinstate"
OUTCOMES: Final[Mapping[str, tuple[str, str]]] = {
    APPROVE: ("approved", "kyb_approved"),
    REVISE: ("revision_needed", "kyb_revision"),
    REJECT: ("rejected", "kyb_rejected"),
    SUSPEND: ("suspended", "kyb_suspended"),
    REINSTATE: ("approved", "kyb_reinstated"),
}
"""What each decision makes of a supplier, and the mail that says so."""
FROM: Final[Mapping[str, frozenset[str]]] = {
    APPROVE: frozenset({"under_review"}),
    REVISE: frozenset({"under_review"}),
    REJECT: frozenset({"under_review"}),
    SUSPEND: frozenset({"approved", "suspended"}),
    REINSTATE: frozenset({"suspended"}),
}
"""The statuses that each decision is possible in.

What an approved supplier has listed and earned is stopped by an operator's suspension only, which
can be taken back: never by a revision, after which it could be rejected with money owed. It says
what is asked for; a suspended supplier files that and submits it, and is reinstated for it, or
suspended again with what is still missing.
"""
OPERATORS_ONLY: Final = frozenset({SUSPEND, REINSTATE})
NEEDS_ITEMS: Final = frozenset({REVISE, REJECT, SUSPEND})


@dataclass(frozen=True, slots=True)
class ReviewDecision:
    """What a reviewer decides of a version."""

    supplier_id: str
    version: int
    decision: str
    items: Sequence[Mapping[str, str]] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class ReviewRules:
    """How reviews go."""

    four_eyes: bool = False
    """Whether an approval needs two reviewers."""
    document_lives_s: int = 5 * 365 * 86_400
    """How long documents are kept after an approval, seconds."""
    rejected_lives_s: int = 90 * 86_400
    """How long after a rejection, seconds."""


def read_decision(supplier_id: str, body: Any) -> ReviewDecision:
    """Return a decision as it was sent. Raises 400."""
    fields = Fields(body, ("version", "decision", "items", "note"))
    decision = str(fields.choice("decision", tuple(OUTCOMES)))
    items = []
    for index, entry in enumerate(fields.list_of("items", count_max=ITEMS_MAX, is_needed=False)):
        item = Fields(entry, ("requirement", "code", "text", "inside"), where=f"items[{index}]")
        items.append(
            {
                "requirement": str(item.choice("requirement", sorted(REQUIREMENTS))),
                "code": item.text("code", length_max=60, is_needed=False) or "needs_revision",
                "text": str(item.text("text", length_max=1_000)),
                "inside": item.text("inside", length_max=1_000, is_needed=False) or "",
            }
        )
    if decision in NEEDS_ITEMS and not items:
        raise bad_request("items_missing", f"To {decision} takes at least one item.", param="items")
    version = fields.integer("version", low=1, high=2**31 - 1)
    assert version is not None
    note = fields.paragraphs("note", length_max=4_000, is_needed=False) or ""
    return ReviewDecision(supplier_id, version, decision, items, note)


def decide(
    connection: Connection,
    decision: ReviewDecision,
    *,
    reviewer: str,
    rules: ReviewRules,
    now_s: int,
) -> SupplierRecord:
    """Write a decision with all that follows from it; return the supplier as it stands then.

    Raises 404, 403 ``own_application``, and 409: ``version_outdated``, ``not_under_review``,
    ``approved_by_you`` where a second pair of eyes is needed.
    """
    supplier = lock_supplier(connection, decision.supplier_id)
    if supplier is None or supplier.kyb_version == 0:
        raise not_found("application")
    check_not_own(connection, supplier, reviewer)
    if decision.version != supplier.kyb_version:
        raise version_outdated(supplier.kyb_version)
    if supplier.kyb_status not in FROM[decision.decision]:
        raise not_possible(decision.decision, supplier.kyb_status)
    is_final = True
    decided = load_decisions(connection, supplier.supplier_id, version=decision.version)
    # A supplier is reinstated as it was approved by one; what it has filed since is new, whatever
    # else was decided of it meanwhile.
    is_new = not any(row["is_final"] and row["decision"] in (APPROVE, REINSTATE) for row in decided)
    is_approval = decision.decision == APPROVE or (decision.decision == REINSTATE and is_new)
    if is_approval and rules.four_eyes:
        # A further look at the same version after a revision is a new one.
        before = [row["reviewer"] for row in decided if row["decision"] == decision.decision]
        if reviewer in before:
            raise second_pair_needed()
        is_final = bool(before)
    save_decision(
        connection,
        decision_id=new_id(),
        supplier_id=supplier.supplier_id,
        version=decision.version,
        reviewer=reviewer,
        decision=decision.decision,
        is_final=is_final,
        items=decision.items,
        note=decision.note,
        now_s=now_s,
    )
    note_audit(
        connection,
        entry_id=new_id(),
        actor=reviewer,
        action=decision.decision,
        subject=f"version {decision.version}",
        supplier_id=supplier.supplier_id,
        now_s=now_s,
    )
    if is_final:
        _carry_out(connection, supplier, decision, rules=rules, now_s=now_s)
    found = load_supplier(connection, supplier.supplier_id)
    assert found is not None
    return found


def check_not_own(connection: Connection, supplier: SupplierRecord, reviewer: str) -> None:
    """Raise 403 ``own_application`` where the reviewer is the applicant: by its account, by its
    mailbox (``name+anything@…`` is one), or as an owner by its identity number."""
    if supplier.supplier_id == reviewer:
        raise own_application()
    asking = load_supplier(connection, reviewer)
    if asking is None:
        return  # the command line
    is_mailbox_same = find_mailbox(asking.email) == find_mailbox(supplier.email)
    if is_mailbox_same or share_an_identity(connection, supplier.supplier_id, reviewer):
        raise own_application()


def _carry_out(
    connection: Connection,
    supplier: SupplierRecord,
    decision: ReviewDecision,
    *,
    rules: ReviewRules,
    now_s: int,
) -> None:
    status, template = OUTCOMES[decision.decision]
    newest = json.loads(load_submissions(connection, supplier.supplier_id)[0]["content"])
    entity = newest["entity"]
    set_kyb_status(connection, supplier.supplier_id, status, change_id=new_id(), now_s=now_s)
    if decision.decision in (APPROVE, REINSTATE):
        set_approved_names(
            connection,
            supplier.supplier_id,
            legal_name=entity["legal_name"],
            registration_number=entity["registration_number"],
        )
    lives_s = {APPROVE: rules.document_lives_s, REJECT: rules.rejected_lives_s}
    if decision.decision in lives_s:
        erase_at_s = now_s + lives_s[decision.decision]
        set_erase_date(connection, supplier.supplier_id, erase_at_s=erase_at_s)
    facts: dict[str, Any] = {"legal_name": entity["legal_name"]}
    if decision.items:
        facts["items"] = [f"{item['requirement']}: {item['text']}" for item in decision.items]
    mail = NewMail(new_id(), supplier.email, template, facts, supplier_id=supplier.supplier_id)
    enqueue_mail(connection, mail, now_s=now_s)


def grant(connection: Connection, *, email: str, role: str, actor: str, now_s: int) -> str:
    """Give an address a role, opening an account that it is invited to; return the account's id."""
    found = find_supplier(connection, email)
    supplier_id = new_id() if found is None else found.supplier_id
    if found is None:
        open_supplier(
            connection,
            supplier_id=supplier_id,
            change_id=new_id(),
            email=email,
            password_hash=None,
            role=role,
            now_s=now_s,
        )
        mail = NewMail(
            new_id(),
            email,
            "reviewer_invited",
            {"role": role},
            token_purpose="reset",
            supplier_id=supplier_id,
        )
        enqueue_mail(connection, mail, now_s=now_s)
    else:
        set_role(connection, supplier_id, role, now_s=now_s)
    note_audit(
        connection,
        entry_id=new_id(),
        actor=actor,
        action=f"grant {role}",
        subject=supplier_id,
        now_s=now_s,
    )
    return supplier_id


def own_application() -> RequestRejected:
    """403: a reviewer may not decide on its own application."""
    message = "This is your own application: somebody else has to decide on it."
    return RequestRejected(403, "own_application", message, headers=NO_RETRY)


def role_missing(role: str) -> RequestRejected:
    """403: the account may not do this."""
    message = f"This is for accounts with the role {role!r}."
    return RequestRejected(403, "role_missing", message, headers=NO_RETRY)


def version_outdated(newest: int) -> RequestRejected:
    """409: another version was submitted since."""
    message = f"Version {newest} is the newest: look at it, and decide on it."
    return RequestRejected(409, "version_outdated", message, "version")


def not_possible(decision: str, status: str) -> RequestRejected:
    """409: the decision is not possible in this status; another reviewer may have decided."""
    message = f"The application is {status}: to {decision} is not possible."
    return RequestRejected(409, "not_possible", message, "decision")


def second_pair_needed() -> RequestRejected:
    """409: you have approved this version, and another reviewer is needed."""
    message = "You have approved this version: another reviewer has to approve it too."
    return RequestRejected(409, "approved_by_you", message)
