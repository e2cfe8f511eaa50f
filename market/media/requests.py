"""What requests for media say about money, and their answers. Pure.

A request is priced by what it asks for: images, images times their pixels, characters to speak,
seconds of a recording or of the clip to be made. Each is a *base*
(``market.pricing.media_units``); an offer that counts in a base whose quantity the request does not
say is passed over. The buyer pays for what was delivered, never for more than was asked for.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import orjson

from market.media.audio import measure
from market.media.multipart import Part, build_form, parse_form
from market.pricing.media_units import Base, find_price
from market.routing.filters import ROUTING_FIELD, Filters
from market.routing.ranking import Ask
from serving.dialects.call import MODEL_LENGTH_MAX
from serving.http.errors import bad_request, wrong_type
from serving.http.strict_json import parse_json_object
from serving.models.grades import Grade
from serving.models.prices import Tokens
from serving.models.refused import find_router_control
from serving.models.terms import Terms


class Medium(StrEnum):
    """What media can be bought, by the path below /v1/."""

    IMAGES = "images/generations"
    SPEECH = "audio/speech"
    TRANSCRIPTIONS = "audio/transcriptions"
    VIDEO = "video/generations"
    MUSIC = "music/generations"


ASYNCHRONOUS: Final = frozenset({Medium.VIDEO, Medium.MUSIC})
"""Submitted, then asked for: see ``market.media.jobs``."""

IMAGES_MAX: Final = 10
SIDE_MAX: Final = 16_384
INPUT_MAX: Final = 100_000
"""Characters that one request may have spoken."""

SECONDS_MAX: Final = 3_600
_SECONDS_FIELDS: Final = ("seconds", "duration", "duration_seconds")
_TEXT_FORMATS: Final = frozenset({"text", "srt", "vtt"})
_SIZE: Final = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")
_SECONDS: Final = re.compile(r"[0-9]{1,4}(\.[0-9]{1,3})?")

_REFUSED: Final = frozenset(
    {
        # Other names of how much is made.
        "num_images",
        "num_outputs",
        "num_images_per_prompt",
        "batch_size",
        "samples",
        # These fields choose another model, provider or price than the reservation's.
        "models",
        "route",
        "provider",
        "service_tier",
        "extra_body",
        # Answers that arrive in another way than is counted.
        "stream",
        "stream_format",
        "partial_images",
        "webhook",
        "webhook_url",
        "callback_url",
    }
)
_OWN: Final = frozenset({"tags", "lora"})
"""Fields that steer a router where text is made: here music and images have their style by them."""
_HARMLESS: Final = {"stream_format": "audio", "partial_images": 0, "stream": False}


@dataclass(frozen=True, slots=True)
class MediaCall:
    """A request for media as far as it matters for money."""

    medium: Medium
    model: str
    routing: Any
    estimates: Mapping[Base, int]
    """How much it asks for, by each base that it says it in."""
    bounds: Mapping[Base, int]
    """What it cannot exceed."""
    body: Mapping[str, Any] = field(default_factory=dict)
    parts: Sequence[Part] = ()
    """The fields of a form, in place of ``body``."""
    pixels: int | None = None
    """The pixels of one image."""
    is_text: bool = False
    """Whether a transcript is asked for as plain text."""

    def build_asks(
        self,
        reference: Terms | None,
        filters: Filters,
        minimum_pct: int | None,
        *,
        trusted_only: bool,
    ) -> list[Ask]:
        """Return what to ask the market for, in each base. Raises ``RequestRejected``."""
        if filters.has_ceilings:
            message = "Price ceilings are for tokens."
            raise bad_request("unsupported_parameter", message, param=ROUTING_FIELD)
        return [
            Ask(
                model=self.model,
                endpoint=self.medium,
                estimate=Tokens(quantity, 0),
                bound=Tokens(max(quantity, self.bounds.get(base, quantity)), 0),
                direct=find_price(reference, base),
                minimum_discount_pct=minimum_pct,
                trusted_only=trusted_only,
                minimum_grade=filters.minimum_grade or Grade.OTHER,
                only=filters.only,
                ignore=filters.ignore,
                base=base,
            )
            for base, quantity in self.estimates.items()
        ]

    def build_body(self, model: str) -> tuple[str, bytes]:
        """Return the content type and body for a seller who calls the model ``model``."""
        if self.parts:
            named = [Part("model", model.encode())]
            return build_form([*named, *(part for part in self.parts if part.name != "model")])
        sent = {**self.body, "model": model}
        if self.medium is Medium.IMAGES:
            sent["n"] = self.estimates[Base.IMAGE]
        return "application/json", orjson.dumps(sent)


def parse_media(medium: Medium, content_type: str, raw: bytes) -> MediaCall:
    """Read a request. Raises ``RequestRejected`` (400), naming the field."""
    if medium is Medium.TRANSCRIPTIONS:
        return _parse_transcription(content_type, raw)
    body = parse_json_object(raw)
    _check_refused(body)
    model = _read_model(body.get("model"))
    routing = body.pop(ROUTING_FIELD, None)
    pixels: int | None = None
    match medium:
        case Medium.IMAGES:
            count = _read_count(body)
            pixels = _read_pixels(body.get("size"))
            estimates = {Base.IMAGE: count}
            if pixels is not None:
                estimates[Base.PIXEL] = count * pixels
        case Medium.SPEECH:
            text = body.get("input")
            if not isinstance(text, str) or not 1 <= len(text) <= INPUT_MAX:
                raise wrong_type("input", f"a text of 1 to {INPUT_MAX} characters")
            estimates = {Base.CHARACTER: len(text)}
        case _:
            if body.get("n") not in (None, 1):
                raise wrong_type("n", "1: one job makes one")
            estimates = {Base.CLIP if medium is Medium.VIDEO else Base.TRACK: 1}
            seconds = _read_asked_seconds(body)
            if seconds is not None:
                estimates[Base.SECOND] = seconds
    _check_encodable(body)
    return MediaCall(medium, model, routing, estimates, estimates, body, pixels=pixels)


def _parse_transcription(content_type: str, raw: bytes) -> MediaCall:
    parts = parse_form(content_type, raw)
    fields = {part.name: part for part in parts}
    single = [part.name for part in parts if not part.name.endswith("[]")]
    if len(single) != len(set(single)):
        raise bad_request("invalid_form", "A field is there twice.")
    texts = {name: _read_text(part) for name, part in fields.items() if name != "file"}
    _check_refused({name: text for name, text in texts.items() if text not in ("", "false")})
    file = fields.get("file")
    if file is None or not file.content:
        raise wrong_type("file", "a recording")
    file = Part("file", file.content, file.filename or "audio", file.content_type)
    routing = texts.get(ROUTING_FIELD)
    try:
        filters = None if routing is None else orjson.loads(routing)
    except orjson.JSONDecodeError:
        raise wrong_type(ROUTING_FIELD, "JSON") from None
    length = measure(file.content)
    sent = [p for p in parts if p.name not in ("file", ROUTING_FIELD)]
    return MediaCall(
        Medium.TRANSCRIPTIONS,
        _read_model(texts.get("model")),
        filters,
        {Base.SECOND: length.estimate_s},
        {Base.SECOND: length.bound_s},
        parts=[*(Part(p.name, p.content) for p in sent), file],
        is_text=texts.get("response_format") in _TEXT_FORMATS,
    )


def _read_text(part: Part) -> str:
    try:
        return part.content.decode()
    except UnicodeDecodeError:
        raise wrong_type(part.name[:60], "a text") from None


def _check_refused(body: Mapping[str, Any]) -> None:
    refused = [
        name
        for name in sorted(_REFUSED & body.keys())
        if body[name] is not None and body[name] != _HARMLESS.get(name)
    ]
    name = refused[0] if refused else find_router_control(body, own=_OWN)
    if name is not None:
        message = f"'{name}' is not supported: what it costs cannot be bounded."
        raise bad_request("unsupported_parameter", message, param=name)


def _check_encodable(body: Mapping[str, Any]) -> None:
    try:
        orjson.dumps(body)
    except orjson.JSONEncodeError:
        raise bad_request("invalid_json", "The body is nested too deeply.") from None


def _read_model(value: Any) -> str:
    if not isinstance(value, str) or not value or len(value) > MODEL_LENGTH_MAX:
        raise wrong_type("model", "a non-empty string")
    return value


def _read_count(body: Mapping[str, Any]) -> int:
    value = body.get("n")
    if value is None:
        return 1
    if type(value) is not int or not 1 <= value <= IMAGES_MAX:
        raise wrong_type("n", f"an integer from 1 to {IMAGES_MAX}")
    return int(value)


def _read_pixels(size: Any) -> int | None:
    """Return the pixels of an image, None where its size is left to the model."""
    if size is None or size == "auto":
        return None
    match = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if match is None or max(int(match[1]), int(match[2])) > SIDE_MAX:
        raise wrong_type("size", "'auto' or '<width>x<height>' in pixels")
    return int(match[1]) * int(match[2])


def _read_asked_seconds(body: Mapping[str, Any]) -> int | None:
    """Return the length that is asked for, rounded up; two fields that differ are refused."""
    found = set()
    for name in _SECONDS_FIELDS:
        value = body.get(name)
        if value is None:
            continue
        seconds = read_seconds(value)
        if seconds is None or not 1 <= seconds <= SECONDS_MAX:
            raise wrong_type(name, f"seconds, from 1 to {SECONDS_MAX}")
        found.add(seconds)
    if len(found) > 1:
        raise bad_request("invalid_request", "Two fields ask for different lengths.")
    return found.pop() if found else None


def read_seconds(value: Any) -> int | None:
    """Return a number of seconds, rounded up, or None where ``value`` is no such number."""
    if isinstance(value, str):
        if _SECONDS.fullmatch(value) is None:
            return None
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 <= value <= 10 * SECONDS_MAX * 24:
        return None
    return -int(-value // 1)
