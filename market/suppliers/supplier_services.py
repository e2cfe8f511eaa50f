"""What the routes of suppliers and reviewers work with."""

from collections.abc import Sequence
from dataclasses import dataclass

from argon2 import PasswordHasher

from market.endpoints.sealing import Sealer
from market.records.database import Database
from market.suppliers.callers import SessionRules, SupplierCallers
from market.suppliers.document_checks import DocumentChecks
from market.suppliers.identity_keys import IdentityKeys
from market.suppliers.joining import Joining
from market.suppliers.known_browsers import KnownBrowsers
from market.suppliers.kyb_filing import KybFiling
from market.suppliers.mailing import Mailer, MailRules
from market.suppliers.passwords import Passwords
from market.suppliers.reviewing import ReviewRules
from market.suppliers.signing_in import SigningIn
from market.suppliers.tries import Tries
from market.suppliers.undoing import Undoing
from market.suppliers.virus_scanner import Scanner


@dataclass(frozen=True)
class SupplierServices:
    """Everything of suppliers that lives as long as the application runs."""

    callers: SupplierCallers
    joining: Joining
    signing_in: SigningIn
    mailer: Mailer
    kyb_filing: KybFiling
    document_checks: DocumentChecks
    review_rules: ReviewRules
    passwords: Passwords
    undoing: Undoing

    def close(self) -> None:
        """End what has threads of its own."""
        self.passwords.close()


def build_supplier_services(
    database: Database,
    sealer: Sealer,
    *,
    secrets: Sequence[bytes],
    session_rules: SessionRules,
    mail_rules: MailRules,
    identity_keys: IdentityKeys | None,
    scanner: Scanner | None,
    review_rules: ReviewRules,
    hasher: PasswordHasher | None = None,
) -> SupplierServices:
    """Put together what suppliers are served with. The first of ``secrets`` counts tries."""
    callers = SupplierCallers(database, session_rules)
    passwords, tries = Passwords(hasher), Tries(secrets[0])
    return SupplierServices(
        callers=callers,
        joining=Joining(database, passwords, tries),
        signing_in=SigningIn(database, passwords, tries, sealer, callers, KnownBrowsers(secrets)),
        mailer=Mailer(database, mail_rules),
        kyb_filing=KybFiling(
            database,
            callers,
            sealer,
            identity_keys,
            document_lives_s=review_rules.document_lives_s,
        ),
        document_checks=DocumentChecks(scanner),
        review_rules=review_rules,
        passwords=passwords,
        undoing=Undoing(database, lately_s=mail_rules.undo_s),
    )
