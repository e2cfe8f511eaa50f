"""What the handlers work with: built once, in the application's lifespan."""

from dataclasses import dataclass

from proxy.catalogue import Catalogue
from proxy.completions import Completions
from proxy.keys import KeyRing
from proxy.meter import Meter
from proxy.metrics import Metrics
from proxy.signatures import SignatureChecker


@dataclass(frozen=True)
class Services:
    """Everything that lives as long as the application runs."""

    ring: KeyRing
    meter: Meter
    catalogue: Catalogue
    completions: Completions
    checker: SignatureChecker
    metrics: Metrics
    body_bytes_max: int
    body_timeout_s: float
