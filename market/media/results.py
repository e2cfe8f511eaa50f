"""What sellers' answers to requests for media come to."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ledger.selling.jobs import JobState
from market.media.requests import MediaCall, read_seconds
from market.pricing.media_units import Base

OUTPUTS_MAX: Final = 20
URL_MAX: Final = 4_000
UPSTREAM_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")
"""What may be put into a seller's path: no slash, no dots alone."""

_STATES: Final[Mapping[str, JobState]] = {
    "queued": JobState.QUEUED,
    "pending": JobState.QUEUED,
    "submitted": JobState.QUEUED,
    "in_progress": JobState.IN_PROGRESS,
    "processing": JobState.IN_PROGRESS,
    "running": JobState.IN_PROGRESS,
    "completed": JobState.COMPLETED,
    "succeeded": JobState.COMPLETED,
    "failed": JobState.FAILED,
    "error": JobState.FAILED,
    "cancelled": JobState.CANCELLED,
    "canceled": JobState.CANCELLED,
    "expired": JobState.FAILED,
}


@dataclass(frozen=True, slots=True)
class JobNews:
    """What a seller says of a job. ``urls`` where it is completed."""

    state: JobState
    upstream_id: str | None
    urls: tuple[str, ...] = ()
    seconds: int | None = None


def read_images(call: MediaCall, parsed: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Return the images of an answer, no more than were asked for; None where it has none."""
    data = parsed.get("data")
    if not isinstance(data, list) or not data or parsed.get("error"):
        return None
    images = data[: call.estimates[Base.IMAGE]]
    for image in images:
        if not isinstance(image, dict):
            return None
        content = [image[name] for name in ("url", "b64_json") if image.get(name) is not None]
        if not content or not all(isinstance(one, str) and one for one in content):
            return None
        if "url" in image and isinstance(image["url"], str) and len(image["url"]) > URL_MAX:
            return None
    return images


def count_images(call: MediaCall, images: int, base: Base) -> int:
    """Return what so many images come to in a base."""
    return images * (call.pixels or 0) if base is Base.PIXEL else images


def count_transcript(call: MediaCall, parsed: Mapping[str, Any] | None) -> int:
    """Return the seconds to charge for: the seller's word, as far as the upload can bear it."""
    stated: int | None = None
    if parsed is not None:
        usage = parsed.get("usage")
        stated = read_seconds(usage.get("seconds")) if isinstance(usage, dict) else None
        if stated is None:
            stated = read_seconds(parsed.get("duration"))
    if stated is None:
        return call.estimates[Base.SECOND]
    return min(stated, call.bounds[Base.SECOND])


def read_job(parsed: Mapping[str, Any]) -> JobNews | None:
    """Return what a seller says of a job, or None where it makes no sense."""
    status = parsed.get("status")
    state = _STATES.get(status.lower()) if isinstance(status, str) else None
    upstream_id = parsed.get("id")
    if state is None:
        return None
    if not isinstance(upstream_id, str) or UPSTREAM_ID.fullmatch(upstream_id) is None:
        upstream_id = None
    if state is not JobState.COMPLETED:
        return JobNews(state, upstream_id)
    urls = _read_urls(parsed)
    return None if not urls else JobNews(state, upstream_id, urls, _read_seconds(parsed))


def _read_urls(parsed: Mapping[str, Any]) -> tuple[str, ...]:
    data = parsed.get("data")
    if data is None and isinstance(parsed.get("url"), str):
        data = [{"url": parsed["url"]}]
    if not isinstance(data, list) or not 1 <= len(data) <= OUTPUTS_MAX:
        return ()
    urls = [one.get("url") if isinstance(one, dict) else None for one in data]
    if not all(isinstance(url, str) and 0 < len(url) <= URL_MAX for url in urls):
        return ()
    return tuple(url for url in urls if url is not None)


def _read_seconds(parsed: Mapping[str, Any]) -> int | None:
    usage = parsed.get("usage")
    stated = read_seconds(usage.get("seconds")) if isinstance(usage, dict) else None
    for name in ("seconds", "duration"):
        stated = read_seconds(parsed.get(name)) if stated is None else stated
    return stated


def count_job(base: Base, *, quantity: int, news: JobNews) -> int:
    """Return what a completed job comes to: its length as stated, within what was asked for."""
    if base is not Base.SECOND or news.seconds is None:
        return quantity
    return min(news.seconds, quantity)
