"""Media, pure: units and prices, forms, recordings, requests, answers.

::

    units      ── a stated price comes back as it was stated; sums to the unit
    forms      ── what is built is read again; whatever could be read in two ways is refused
    recordings ── exact where the format says it; never more bytes a second than any file has
    requests   ── what is asked for, in each base; refused where it cannot be priced
    answers    ── within what was asked for, whatever a seller says
"""

import io
import wave
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.selling.jobs import JobState
from market.http.mirrors import is_medium
from market.media.audio import measure
from market.media.multipart import Part, build_form, parse_form
from market.media.requests import Medium, parse_media
from market.media.results import count_job, count_transcript, read_images, read_job
from market.pricing.media_units import UNITS, Base, check_unit_prices, get_media_prices
from serving.http.errors import ApiError
from serving.models.price_file import PricesInvalid
from serving.models.prices import Tokens, get_cost_usdc
from serving.models.references import load_references

# ------------------------------------------------------------------------------------------- units


@given(unit=st.sampled_from(sorted(UNITS)), price_usdc=st.integers(0, 10_000 * 10**6))
def test_unit__price_as_stated__comes_back(unit: str, price_usdc: int) -> None:
    price = UNITS[unit].to_price(price_usdc)
    assert UNITS[unit].to_per_unit_usdc(price) == price_usdc


@given(unit=st.sampled_from(sorted(UNITS)), price_usdc=st.integers(0, 10**10),
       count=st.integers(0, 10_000))  # fmt: skip
def test_unit__whole_units__cost_what_was_stated(unit: str, price_usdc: int, count: int) -> None:
    price = UNITS[unit].to_price(price_usdc)
    cost_usdc = get_cost_usdc(Tokens(count * UNITS[unit].quantity, 0), price)
    assert cost_usdc == price_usdc * count


@pytest.mark.parametrize(
    "text",
    [
        '[models.m]\nusd_per = {parsec = "1"}',
        '[models.m]\nusd_per = {second = "1", minute = "60"}',
        '[models.m]\nusd_per = {second = "-1"}',
        '[models.m]\nusd_per = {second = "10001"}',
        '[models.m]\ninput_usd_per_mtok = "1"\nusd_per = {second = "1"}',
        "[models.m]\ncontext_tokens = 5",
    ],
)
def test_prices__of_media__nonsense_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(PricesInvalid):
        check_unit_prices(load_references(path).operator)


def test_prices__of_media__are_for_a_million_of_the_base(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text('[models.m]\nusd_per = {minute = "0.006", 1k_characters = "0.015"}')
    reference = load_references(path).find_reference("m", now_s=0)
    assert reference is not None
    assert reference.price is None
    assert {
        base: price.input_usdc_per_mtok for base, price in get_media_prices(reference).items()
    } == {
        Base.SECOND: 100_000_000,
        Base.CHARACTER: 15_000_000,
    }


# ------------------------------------------------------------------------------------------- forms

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=9)


@given(st.lists(st.tuples(NAMES, st.binary(max_size=200), st.none() | NAMES), max_size=8))
def test_form__built__is_read_again(fields: list[tuple[str, bytes, str | None]]) -> None:
    ascii_fields = [
        (name.encode("ascii", "ignore").decode() or "n", content, filename)
        for name, content, filename in fields
        if not set(name) & set('"\\%;')
    ]
    parts = [
        Part(name, content, None if f is None else "f.wav") for name, content, f in ascii_fields
    ]
    content_type, body = build_form(parts)
    if not parts:
        return
    found = parse_form(content_type, body)
    assert [(p.name, p.content, p.filename) for p in found] == [
        (p.name, p.content, p.filename) for p in parts
    ]


KIND = "multipart/form-data; boundary=b"
HEAD = b'Content-Disposition: form-data; name="a"'


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b"--b--\r\n"),
        (KIND, b""),
        (KIND, b"--b"),
        (KIND, b"--b\r\n" + HEAD + b"\r\n\r\nx"),
        (KIND, b"--b\r\n" + HEAD + b"\r\n\r\nx\r\n--b--trailing"),
        (KIND, b"preamble\r\n--b\r\n" + HEAD + b"\r\n\r\nx\r\n--b--\r\n"),
        (KIND, b"--b\n" + HEAD + b"\n\nx\n--b--\n"),
        (KIND, b"--b\r\nX: y\r\n\r\nx\r\n--b--\r\n"),
        (KIND, b"--b\r\nContent-Disposition: attachment; name=a\r\n\r\nx\r\n--b--\r\n"),
        (KIND, b"--b\r\n" + HEAD + b"\r\nContent-Transfer-Encoding: base64\r\n\r\nx\r\n--b--\r\n"),
        (KIND, b"--b\r\n" + b"X" * 5_000 + b"\r\n\r\nx\r\n--b--\r\n"),
        (KIND, b"--b\r\n\xff\xfe\r\n\r\nx\r\n--b--\r\n"),
        (KIND, b"".join(b"--b\r\n" + HEAD + b"\r\n\r\nx\r\n" for _ in range(60)) + b"--b--\r\n"),
        ("multipart/form-data; boundary=" + "b" * 80, b""),
    ],
)
def test_form__that_could_be_read_in_two_ways__is_refused(content_type: str, body: bytes) -> None:
    with pytest.raises(ApiError):
        parse_form(content_type, body)


@given(st.binary(max_size=300))
def test_form__any_bytes__are_read_or_refused(body: bytes) -> None:
    for raw in (body, b"--b\r\n" + body + b"\r\n--b--\r\n"):
        try:
            parse_form(KIND, raw)
        except ApiError as error:
            assert error.status == 400


# -------------------------------------------------------------------------------------- recordings


def make_wav(frames: int, rate: int = 8_000) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(bytes(4 * frames))
    return stream.getvalue()


def test_measure__wav__is_exact_whatever_its_header_claims() -> None:
    recording = make_wav(8_001)
    assert measure(recording).bound_s == measure(recording).estimate_s == 2
    at = recording.index(b"data") + 4
    shorter = recording[:at] + (4).to_bytes(4, "little") + recording[at + 4 :]
    assert measure(shorter).bound_s == 2, "the length that it states is not believed"
    faster = recording[:28] + (10**9).to_bytes(4, "little") + recording[32:]
    assert measure(faster).bound_s == 2, "nor its rate of bytes"


@given(st.binary(max_size=400))
def test_measure__any_bytes__are_bounded_by_their_number(content: bytes) -> None:
    for raw in (content, b"RIFF0000WAVE" + content, b"fLaC\0" + content):
        length = measure(raw)
        assert 1 <= length.estimate_s <= length.bound_s


# ---------------------------------------------------------------------------------------- requests


def parse(medium: Medium, **body: Any) -> Any:
    return parse_media(medium, "application/json", orjson.dumps({"model": "m", **body}))


def test_request__asks_for__in_each_base_that_it_says() -> None:
    images = parse(Medium.IMAGES, n=3, size="100x200").estimates
    assert images == {Base.IMAGE: 3, Base.PIXEL: 60_000}
    assert parse(Medium.IMAGES, size="auto").estimates == {Base.IMAGE: 1}
    assert parse(Medium.SPEECH, input="Grüße").estimates == {Base.CHARACTER: 5}
    assert parse(Medium.VIDEO, seconds="7.2").estimates == {Base.CLIP: 1, Base.SECOND: 8}
    assert parse(Medium.MUSIC, duration=30).estimates == {Base.TRACK: 1, Base.SECOND: 30}
    assert parse(Medium.MUSIC).estimates == {Base.TRACK: 1}


@pytest.mark.parametrize(
    ("medium", "body"),
    [
        (Medium.IMAGES, {"n": True}),
        (Medium.IMAGES, {"n": "3"}),
        (Medium.IMAGES, {"size": "0x5"}),
        (Medium.IMAGES, {"size": 5}),
        (Medium.IMAGES, {"stream": True}),
        (Medium.SPEECH, {}),
        (Medium.SPEECH, {"input": "x" * 100_001}),
        (Medium.SPEECH, {"input": "x", "stream_format": "sse"}),
        (Medium.VIDEO, {"seconds": 0}),
        (Medium.VIDEO, {"seconds": 3_601}),
        (Medium.VIDEO, {"seconds": "1e3"}),
        (Medium.VIDEO, {"seconds": 4, "duration": 5}),
        (Medium.VIDEO, {"n": 2}),
        (Medium.VIDEO, {"webhook": "https://example.com"}),
        (Medium.VIDEO, {"model": ""}),
        (Medium.IMAGES, {"fallbacks": ["another"]}),
        (Medium.SPEECH, {"input": "x", "mock_response": "y"}),
    ],
)
def test_request__that_cannot_be_priced__is_refused(medium: Medium, body: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as refused:
        parse(medium, **body)
    assert refused.value.status == 400


def test_paths__of_media__are_mirrored_and_no_others() -> None:
    mirrored = ["/v1/images/generations", "/v1/audio/speech", "/v1/audio/transcriptions"]
    mirrored += [
        f"/v1/{kind}/generations{tail}" for kind in ("video", "music") for tail in ("", "/x")
    ]
    assert all(map(is_medium, mirrored))
    others = ["/v1/images/generations/x", "/v1/media/artifacts/x", "/v1/video/generations/x/y"]
    assert not any(map(is_medium, [*others, "/v1/embeddings", "/v1/models", "/v1/prices"]))


# ----------------------------------------------------------------------------------------- answers

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["id", "status", "data", "url", "usage", "seconds", "duration", "b64_json"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["id", "status", "data", "url", "usage", "seconds"]), JSON))
def test_answers__whatever_a_seller_says__stay_within_what_was_asked(said: dict[str, Any]) -> None:
    call = parse(Medium.IMAGES, n=2)
    images = read_images(call, said)
    assert images is None or 1 <= len(images) <= 2
    recording = build_form([Part("model", b"m"), Part("file", make_wav(80_000), "a.wav")])
    transcript = parse_media(Medium.TRANSCRIPTIONS, *recording)
    assert 0 <= count_transcript(transcript, said) <= 10
    news = read_job(said)
    if news is None:
        return
    assert (news.state is JobState.COMPLETED) == bool(news.urls)
    assert 0 <= count_job(Base.SECOND, quantity=8, news=news) <= 8
    assert count_job(Base.CLIP, quantity=1, news=news) == 1


@pytest.mark.parametrize(
    "upstream_id", ["../x", "a/b", "", ".", "a?b", "a#b", "a%2fb", 5, "x" * 300]
)
def test_job__id_that_would_lead_elsewhere__is_none(upstream_id: Any) -> None:
    news = read_job({"status": "queued", "id": upstream_id})
    assert news is not None
    assert news.upstream_id is None
