"""A request for a transcription: a form whose recording is measured, and what is refused of it."""

import io
import wave

import orjson
import pytest

from market.media.multipart import Part, build_form, parse_form
from market.media.requests import Medium, parse_media, read_seconds
from market.pricing.media_units import Base
from serving.http.errors import ApiError


def make_recording(seconds: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as recording:
        recording.setnchannels(1)
        recording.setsampwidth(2)
        recording.setframerate(8_000)
        recording.writeframes(bytes(16_000 * seconds))
    return file.getvalue()


FILE = Part("file", make_recording(3), "talk.wav", "audio/wav")
MODEL = Part("model", b"whisper")


def parse(*parts: Part) -> tuple[str, bytes]:
    return build_form(list(parts))


def test_parse_media__recording__its_seconds_and_the_form_for_the_seller() -> None:
    routing = Part("routing", orjson.dumps({"trusted_only": True}))
    content_type, raw = parse(MODEL, FILE, routing, Part("response_format", b"text"))

    call = parse_media(Medium.TRANSCRIPTIONS, content_type, raw)

    assert (call.model, call.estimates, call.is_text) == ("whisper", {Base.SECOND: 3}, True)
    assert call.routing == {"trusted_only": True}
    sent = {part.name: part.content for part in parse_form(*call.build_body("their-model"))}
    assert sent == {
        "model": b"their-model",
        "response_format": b"text",
        "file": FILE.content,
    }


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ((MODEL,), "a recording"),
        ((MODEL, Part("file", b"", "a.wav")), "a recording"),
        ((MODEL, FILE, MODEL), "there twice"),
        ((MODEL, FILE, Part("language", b"\xff")), "a text"),
        ((MODEL, FILE, Part("routing", b"{")), "JSON"),
        ((MODEL, FILE, Part("stream", b"true")), "stream"),
    ],
)
def test_parse_media__malformed_form__400(parts: tuple[Part, ...], words: str) -> None:
    content_type, raw = parse(*parts)

    with pytest.raises(ApiError, match=words) as caught:
        parse_media(Medium.TRANSCRIPTIONS, content_type, raw)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("5", 5), (4.2, 5), (0, 0), ("x", None), (True, None), (None, None), (-1, None), (1e12, None)],
)
def test_read_seconds__rounded_up__none_for_anything_else(
    value: object, seconds: int | None
) -> None:
    assert read_seconds(value) == seconds
