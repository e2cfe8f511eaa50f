"""What every call that buyers pay for has in common: its errors as answers, its payment."""

import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from starlette.types import Scope

from ledger.errors import LedgerUnavailable
from market.endpoints.sealing import KmsUnavailable
from market.errors import kms_unavailable
from market.metrics import Metrics
from serving.http.answers import Answer, BuildError, build_error_answer
from serving.http.bodies import find_header
from serving.http.errors import ledger_unavailable
from serving.http.exceptions import Translations, answer_safely
from serving.http.metrics import ANSWERED

T = TypeVar("T")

TRANSLATIONS: Final[Translations] = {
    LedgerUnavailable: ledger_unavailable,
    KmsUnavailable: kms_unavailable,
}


async def answer_by(
    serve: Callable[[], Awaitable[T]],
    metrics: Metrics,
    request_id: str,
    *,
    build: BuildError = build_error_answer,
) -> T | Answer:
    """Return what ``serve`` does, errors as answers too, and count it. Raises ``ClientGone``.

    ``build`` makes the error answers.
    """
    started_s = time.monotonic()

    def observe(outcome: str) -> None:
        metrics.observe_request(outcome, time.monotonic() - started_s)

    async def count() -> T:
        answer = await serve()
        observe(ANSWERED)
        return answer

    return await answer_safely(
        count, TRANSLATIONS, request_id=request_id, observe=observe, build=build
    )


def find_payment(scope: Scope) -> str | None:
    """Return the payment that came with a request, of either version, or None."""
    header = find_header(scope, b"payment-signature")
    return find_header(scope, b"x-payment") if header is None else header
