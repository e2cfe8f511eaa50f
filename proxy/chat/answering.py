"""What a client is told of an answer: as upstream said it, or in the client's own dialect.

Both count by the same meter, so the charge is the same in every dialect.
"""

from collections.abc import Callable

from proxy.chat.admitting import Admitted
from proxy.chat.charging import get_cost_usdc
from proxy.chat.streams import CHARGE_NAME
from serving.dialects.encoding import Served, Spent
from serving.dialects.endpoints import HOLDERS
from serving.models.counting import Counted
from serving.models.grades import ServedBy
from serving.models.stating import restate_answer
from serving.models.upstream import ProviderAnswer
from serving.stream.opening import open_tally
from serving.stream.tally import Tally
from serving.stream.translated import TranslatedTally


def build_tally(admitted: Admitted, *, now_s: int) -> Tally:
    """Return what counts a stream, and tells it to the client."""
    translation = admitted.request.translation
    if translation is None:
        return open_tally(admitted.call, admitted.get_sent(), served=_describe(admitted, now_s))
    encoder = translation.dialect.open_encoder(translation.form, _describe(admitted, now_s))
    return TranslatedTally(admitted.get_sent(), encoder)


def prepare_body(
    admitted: Admitted, completion: ProviderAnswer, counted: Counted, *, now_s: int
) -> Callable[[int], bytes]:
    """Return what makes the body of a whole answer, given its cost (1e-6 USDC).

    The body is made here for the cost that is expected: what fails must fail before the charge.
    """
    translation = admitted.request.translation
    if translation is None:
        holder = HOLDERS[admitted.call.endpoint]
        raw = restate_answer(completion.raw, completion.parsed, counted, holder)
        return lambda _: raw
    served = _describe(admitted, now_s)

    def build(cost_usdc: int) -> bytes:
        spent = Spent(counted, {CHARGE_NAME: cost_usdc})
        return translation.dialect.build(completion.parsed, translation.form, served, spent)

    expected_usdc = get_cost_usdc(admitted.offer, counted)
    body = build(expected_usdc)
    return lambda cost_usdc: body if cost_usdc == expected_usdc else build(cost_usdc)


def describe_served_by(served_by: ServedBy | None, *, upstream_name: str) -> dict[str, str]:
    """Return the headers that say who served: a market's seller, else upstream by its name."""
    if served_by is None:
        return {"x-current-served-by": upstream_name}
    return {
        "x-current-served-by": served_by.seller,
        "x-current-offer": served_by.offer_id,
        "x-current-host": served_by.host,
        "x-current-grade": served_by.grade.value,
    }


def _describe(admitted: Admitted, now_s: int) -> Served:
    offer = admitted.offer
    return Served(admitted.request_id, offer.model, offer.estimate.prompt, now_s)
