"""Responses as the document states them, as far as they are read or guaranteed."""

from serving.dialects.shapes import OutputItem, PassThrough, ResponseRequest


class MeteredResponseRequest(ResponseRequest):
    """What a response is to answer. Nothing is stored: `store` is always false."""


class MeteredResponse(PassThrough):
    """A response."""

    id: str
    object: str
    status: str | None = None
    output: list[OutputItem]
