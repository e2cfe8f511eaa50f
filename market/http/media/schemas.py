"""Media, as requests and answers state them."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field, WithJsonSchema

from ledger.selling.jobs import JobState
from market.http.inference.schemas import Routing
from market.media.requests import IMAGES_MAX, INPUT_MAX, Medium
from market.pricing.media_units import Base
from serving.dialects.shapes import PassThrough

Seconds = Annotated[
    int | str,
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}]}),
]
Upload = Annotated[str, WithJsonSchema({"type": "string", "format": "binary"})]


class MediaRequest(PassThrough):
    """What every request for media names."""

    model: str = Field(min_length=1, max_length=200)
    routing: Routing | None = Field(
        default=None, description="without price ceilings: these are for tokens"
    )


class ImageRequest(MediaRequest):
    """Images to make."""

    prompt: str | None = None
    n: int | None = Field(default=None, ge=1, le=IMAGES_MAX)
    size: str | None = Field(default=None, description="'auto' or '<width>x<height>'")


class SpeechRequest(MediaRequest):
    """Text to speak."""

    input: str = Field(max_length=INPUT_MAX)
    voice: str | None = None


class JobRequest(MediaRequest):
    """A video or a piece of music to make."""

    prompt: str | None = None
    seconds: Seconds | None = Field(default=None, description="how long it is to be")


class TranscriptionForm(PassThrough):
    """A recording to write down."""

    file: Upload
    model: str
    response_format: str | None = Field(
        default=None, description="`text`, `srt` and `vtt` are answered as plain text"
    )
    language: str | None = None


class Image(PassThrough):
    """One image: at a URL of this market, or in base64."""

    url: str | None = None
    b64_json: str | None = None


class ImageList(PassThrough):
    """The images, no more than were asked for."""

    data: list[Image] = Field(min_length=1)


class Transcript(PassThrough):
    """The text of a recording."""

    text: str


class Artifact(BaseModel):
    """Something that was made. Its URL is the right to fetch it, for a while."""

    url: str


class JobUsage(BaseModel):
    """What a job is charged for."""

    base: Base
    quantity: int


class JobError(BaseModel):
    """Why a job made nothing. Nothing is charged for it."""

    code: str
    message: str


class Job(BaseModel):
    """A job as its buyer sees it."""

    id: str
    object: Literal["video.generations", "music.generations"]
    model: str
    status: JobState
    created_at: int
    expires_at: int
    poll_url: str
    cancel_url: str
    job_token: str = Field(description="the right to ask for this job and to cancel it")
    reserved_usdc: int
    cost_usdc: int | None = Field(description="null: not charged")
    data: list[Artifact] | None = Field(description="null: nothing is made yet")
    usage: JobUsage | None = Field(description="null: nothing is made yet")
    error: JobError | None = Field(description="null: it did not fail")


BODIES: Final[Mapping[Medium, type[BaseModel]]] = {
    Medium.IMAGES: ImageRequest,
    Medium.SPEECH: SpeechRequest,
    Medium.TRANSCRIPTIONS: TranscriptionForm,
    Medium.VIDEO: JobRequest,
    Medium.MUSIC: JobRequest,
}
ANSWERS: Final[Mapping[Medium, type[BaseModel]]] = {
    Medium.IMAGES: ImageList,
    Medium.TRANSCRIPTIONS: Transcript,
    Medium.VIDEO: Job,
    Medium.MUSIC: Job,
}
_SOUND: Final[dict[str, Any]] = {"schema": {"type": "string", "format": "binary"}}
CONTENTS: Final[Mapping[Medium, dict[str, Any]]] = {
    Medium.SPEECH: {"audio/*": _SOUND, "application/octet-stream": _SOUND},
    Medium.TRANSCRIPTIONS: {"text/plain": {"schema": {"type": "string"}}},
}
"""What is answered beside, or in place of, JSON."""
