"""The dialects besides chat completions, each as the translations that make it. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from serving.dialects.common_form import CommonForm
from serving.dialects.encoding import Encoder, Served, Spent
from serving.dialects.messages_answer import MessageEncoder, build_message
from serving.dialects.messages_errors import describe_as_message
from serving.dialects.messages_request import read_messages_request
from serving.dialects.responses_answer import ResponseEncoder, build_response
from serving.dialects.responses_request import read_responses_request
from serving.http.errors import ApiError


@dataclass(frozen=True, slots=True)
class Dialect:
    """How clients speak at an endpoint, and how that becomes a chat completion and back."""

    name: str
    """The end of its path, below /v1/."""
    read: Callable[[Mapping[str, Any]], CommonForm]
    """Translates a request. Raises ``RequestRejected`` (400), naming the place."""
    build: Callable[[Mapping[str, Any], CommonForm, Served, Spent], bytes]
    """Translates a whole answer."""
    open_encoder: Callable[[CommonForm, Served], Encoder]
    """Begins to translate a stream."""
    describe_error: Callable[[ApiError, str], dict[str, Any]]
    """Returns the body of an error answer; the text is the request's id."""
    id_header: str | None = None
    """The header in which this dialect's clients look for the request's id."""


def _describe_as_openai(error: ApiError, _: str) -> dict[str, Any]:
    return {"error": error.describe(), **error.beside}


def _describe_as_message(error: ApiError, request_id: str) -> dict[str, Any]:
    return describe_as_message(error, request_id=request_id)


MESSAGES: Final = Dialect(
    "messages",
    read_messages_request,
    build_message,
    MessageEncoder,
    _describe_as_message,
    id_header="request-id",
)
RESPONSES: Final = Dialect(
    "responses",
    read_responses_request,
    build_response,
    ResponseEncoder,
    _describe_as_openai,
)
