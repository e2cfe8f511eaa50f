"""What the handlers work with: built once, in the application's lifespan."""

from dataclasses import dataclass

from contracts.signature_checker import SignatureChecker
from proxy.catalogue import Catalogue
from proxy.chain_view import ChainView
from proxy.chat.completions import Completions
from proxy.chat.meter import Meter
from proxy.keys.sign_in import SignIn
from proxy.keys.tokens import KeyRing, KnownKeys
from proxy.metrics import Metrics
from serving.http.limits import Limits


@dataclass(frozen=True)
class Services:
    """Everything that lives as long as the application runs."""

    ring: KeyRing
    known_keys: KnownKeys
    meter: Meter
    catalogue: Catalogue
    completions: Completions
    checker: SignatureChecker
    chain_view: ChainView
    sign_in: SignIn
    legacy_key_message: bool
    metrics: Metrics
    body_bytes_max: int
    body_timeout_s: float
    limits: Limits
