"""A request for images, speech or a transcript from parsed body to charged answer.

Answers are read whole before anything is charged or sent on: what breaks off, has no end or is of
another kind is a seller's failure, and the next one is tried. Images that a seller keeps are
fetched through the market (see ``market.media.artifacts``).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from ledger.selling.jobs import NewArtifact
from market.endpoints.client import SellerClient
from market.media.artifacts import Artifacts
from market.media.requests import MediaCall, Medium
from market.media.results import count_images, count_transcript, read_images
from market.pricing.media_units import Base
from market.records.store import KeyHolder
from market.routing.attempts import Callee, Order
from market.routing.book import Book
from market.routing.filters import parse_filters
from market.routing.ranking import Ask
from market.text.serving import Serving, settle
from serving.http.answers import Answer
from serving.http.errors import bad_request
from serving.models.failures import Cause, UpstreamFailure
from serving.models.prices import Tokens
from serving.models.sold import COST_HEADER
from serving.models.upstream import RawAnswer

_AUDIO: Final = re.compile(r"audio/[a-z0-9.+-]{1,40}")
_BINARY: Final = "application/octet-stream"
_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class Made:
    """What a seller made, ready for the buyer, and how much it is."""

    content_type: str
    body: bytes
    images: list[dict[str, Any]] | None = None
    parsed: dict[str, Any] | None = None


class MediaServing:
    """Serves what is answered at once; jobs are ``market.media.jobs``."""

    def __init__(
        self, serving: Serving, book: Book, seller_client: SellerClient, artifacts: Artifacts
    ) -> None:
        self._serving = serving
        self._book = book
        self._seller_client = seller_client
        self._artifacts = artifacts

    def build_asks(
        self, call: MediaCall, minimum_pct: int | None, *, buyer: KeyHolder | None = None
    ) -> list[Ask]:
        """Return what a request asks of the market; ``buyer`` is the holder of its key, if any.

        Raises ``RequestRejected``.
        """
        filters = parse_filters(call.routing)
        asks = call.build_asks(
            self._book.find_reference(call.model),
            filters,
            minimum_pct,
            trusted_only=self._serving.find_trust(filters.trusted_only, buyer),
        )
        listed = self._book.shelves.get(call.model, {})
        if not any(base in listed for base in call.estimates):
            unsaid = [base for base in (Base.PIXEL, Base.SECOND) if base in listed]
            if unsaid:
                name = "size" if unsaid[0] is Base.PIXEL else "seconds"
                message = f"{call.model!r} is sold by what this request does not say: '{name}'."
                raise bad_request("quantity_unknown", message, param=name)
        return asks

    async def serve(
        self, buyer: KeyHolder, call: MediaCall, asks: list[Ask], *, request_id: str
    ) -> Answer:
        """Answer one request. Raises ``ApiError``."""
        order = Order(buyer, call.medium, asks, request_id)
        return await self._serving.run(lambda: self._serve(order, call), buyer, request_id)

    async def _serve(self, order: Order, call: MediaCall) -> Answer:
        async def attempt(callee: Callee) -> Made:
            content_type, body = call.build_body(callee.model)
            answer = await self._seller_client.send(
                callee.access, "POST", call.medium, content_type=content_type, body=body
            )
            made = _READERS[call.medium](call, answer)
            for image in made.images or ():
                if is_kept(image):
                    await self._seller_client.check_artifact(image["url"])
            return made

        won = await self._serving.route(order, attempt)
        won.end()
        made = won.result
        body = made.body
        kept: list[NewArtifact] = []
        if made.images is not None and won.base is not None:
            assert made.parsed is not None
            # The buyer's own provider may be seen; a seller stays behind the market.
            images, kept = self._artifacts.hide(made.images)
            body = orjson.dumps({**made.parsed, "data": images})
        quantity = 0 if won.base is None else _count(call, made, won.base)
        saved = self._artifacts.save(kept, sale_id=won.charge.sale_id, offer_id=won.offer_id)
        cost_usdc = await settle(
            won.charge.post(Tokens(quantity, 0), also=saved), won.charge.sale_id
        )
        headers = won.build_headers() | {
            "content-type": made.content_type,
            "x-content-type-options": "nosniff",
            COST_HEADER: str(cost_usdc),
        }
        return Answer(200, headers, body)


def is_kept(image: dict[str, Any]) -> bool:
    """Tell whether an image is at a URL that has to be fetched."""
    url = image.get("url")
    return isinstance(url, str) and not url.startswith("data:")


def _count(call: MediaCall, made: Made, base: Base) -> int:
    if made.images is not None:
        return count_images(call, len(made.images), base)
    if call.medium is Medium.TRANSCRIPTIONS:
        return count_transcript(call, made.parsed)
    return call.estimates[base]


def _read_images(call: MediaCall, answer: RawAnswer) -> Made:
    parsed = answer.parse()
    images = read_images(call, parsed)
    if images is None:
        raise UpstreamFailure(Cause.BAD_FORMAT)
    return Made(_JSON, orjson.dumps({**parsed, "data": images}), images, parsed)


def _read_speech(_: MediaCall, answer: RawAnswer) -> Made:
    kind = answer.content_type
    if not answer.raw or (kind != _BINARY and _AUDIO.fullmatch(kind) is None):
        raise UpstreamFailure(Cause.BAD_FORMAT)
    return Made(kind, answer.raw)


def _read_transcript(call: MediaCall, answer: RawAnswer) -> Made:
    if call.is_text:
        try:
            answer.raw.decode()
        except UnicodeDecodeError:
            raise UpstreamFailure(Cause.BAD_FORMAT) from None
        return Made("text/plain; charset=utf-8", answer.raw)
    parsed = answer.parse()
    if not isinstance(parsed.get("text"), str) or parsed.get("error"):
        raise UpstreamFailure(Cause.BAD_FORMAT)
    return Made(_JSON, answer.raw, parsed=parsed)


_READERS: Final[dict[Medium, Callable[[MediaCall, RawAnswer], Made]]] = {
    Medium.IMAGES: _read_images,
    Medium.SPEECH: _read_speech,
    Medium.TRANSCRIPTIONS: _read_transcript,
}
