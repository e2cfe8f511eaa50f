"""What the handlers work with: built once, in the application's lifespan."""

from dataclasses import dataclass

from starlette.requests import Request

from contracts.deployment import Deployment
from contracts.signature_checker import SignatureChecker
from ledger.spending.archive_files import ArchiveFolder
from proxy.books_proof import BooksWatch
from proxy.catalogue import Catalogue
from proxy.chain_view import ChainView
from proxy.chat.completions import Completions
from proxy.chat.meter import Meter
from proxy.graded_lists import GradedLists
from proxy.keys.policies import KeyPolicies
from proxy.keys.sign_in import SignIn
from proxy.keys.tokens import KeyClaims, KeyRing, KnownKeys
from proxy.keys.wallet_sessions import Sessions
from proxy.metrics import Metrics
from proxy.model_aliases import ModelAliases
from proxy.vault_watch import VaultWatch
from proxy.webhooks.delivering import Webhooks
from serving.http.limits import Limits


@dataclass(frozen=True)
class Services:
    """Everything that lives as long as the application runs."""

    deployment: Deployment
    ring: KeyRing
    known_keys: KnownKeys
    meter: Meter
    catalogue: Catalogue
    """The models that sellers of the operator's lowest provenance serve."""
    lists: GradedLists
    completions: Completions
    checker: SignatureChecker
    chain_view: ChainView
    vault_watch: VaultWatch
    books_watch: BooksWatch
    sign_in: SignIn
    sessions: Sessions
    policies: KeyPolicies
    webhooks: Webhooks
    legacy_key_message: bool
    aliases: ModelAliases
    metrics: Metrics
    body_bytes_max: int
    body_timeout_s: float
    limits: Limits
    archive: ArchiveFolder | None

    def note_metrics(self) -> None:
        """Bring the gauges of this process up to date."""
        self.metrics.note(
            in_flight=self.completions.in_flight.count,
            catalogue_fallback=self.catalogue.snapshot.fallback,
            credit_spent=self.completions.credit.is_spent,
        )

    async def read_body(self, request: Request, claims: KeyClaims) -> bytes:
        """Return the body of a key's request. Raises ``ApiError``, and ``LedgerUnavailable``."""
        is_proven = await self.completions.proven.check(claims.token_id)
        return await self.limits.read_body(
            request.scope, request.receive, self, claims.token_id, is_proven=is_proven
        )
