"""What providers' errors mean, in the words and shapes of many of them."""

from typing import Any, Final

import orjson
import pytest

from serving.models.error_words import clean, read_body
from serving.models.failures import (
    CONTEXT_LENGTH_EXCEEDED,
    Cause,
    Looped,
    UpstreamFailure,
    UpstreamRejected,
    classify,
    classify_said,
    read_retry_after,
)

SECRETS = ("sk-secret-1234567890", "https://models.example/v1", "models.example")


def judge(status: int, body: Any, retry_after: str | None = None) -> Any:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return classify(status, raw, retry_after=retry_after, secrets=SECRETS, now_s=0.0)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "words", "type": "t"}}, "words"),
        ({"error": "words"}, "words"),
        ({"detail": "words"}, "words"),
        ({"detail": {"message": "words"}}, "words"),
        ({"detail": [{"loc": ["body", "n"], "msg": "words", "type": "t"}]}, "words"),
        ({"detail": [{"msg": "some"}, {"msg": "more"}]}, "some; more"),
        ({"object": "error", "message": "words", "type": "BadRequestError", "code": 400}, "words"),
        ({"object": "error", "message": {"detail": [{"msg": "words"}]}}, "words"),
        ({"message": "words"}, "words"),
        ({"success": False, "errors": [{"code": 1000, "message": "words"}]}, "words"),
        ([{"error": {"code": 400, "message": "words", "status": "INVALID_ARGUMENT"}}], "words"),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "words"}}, "words"),
        ({"title": "Bad Request", "detail": "words", "status": 400}, "words"),
        ({"error": {"message": '{"error": {"message": "words"}}'}}, "words"),
        ({"error": {"message": 'litellm.BadRequestError: {"error":{"message":"words"}}'}}, "words"),
        ({"fault": {"faultstring": "words"}}, "words"),
        ({"error": "bad", "error_description": "words"}, "words"),
        (
            {"error": {"message": "Provider returned error", "metadata": {"raw": "words"}}},
            "Provider returned error: words",
        ),
        (b"words", "words"),
        (b"<html><body>502 Bad Gateway</body></html>", None),
        (b"", None),
        (b"\xff\xfe", "\ufffd\ufffd"),
        ({}, None),
        ([], None),
        (17, None),
        ({"error": {"error": {"error": {"error": {"error": {"error": {"error": {}}}}}}}}, None),
    ],
    ids=repr,
)
def test_read_body__shapes_of_errors__the_words_are_found(body: Any, message: str | None) -> None:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)

    assert read_body(raw).message == message


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"error": {"message": "m", "param": "messages", "code": "c"}}, "messages", "c"),
        ({"detail": [{"loc": ["body", "messages", 0], "msg": "m"}]}, "messages.0", None),
        ({"error": {"message": "m", "code": 400}}, None, None),
        ({"error": {"message": "m", "param": None, "code": None}}, None, None),
    ],
)
def test_read_body__names__are_found(body: Any, param: str | None, code: str | None) -> None:
    words = read_body(orjson.dumps(body))

    assert (words.param, words.code) == (param, code)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "This model's maximum context length is 8192 tokens. However, you requested 9000"),
        (400, "prompt is too long: 210000 tokens > 200000 maximum"),
        (400, "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000"),
        (400, "The input token count (1200000) exceeds the maximum number of tokens allowed"),
        (500, "the request exceeds the available context size. try increasing the context size"),
        (400, "The input (9000 tokens) is longer than the model's context length (8192 tokens)."),
        (422, "`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 and 100"),
        (400, "Please reduce the length of the messages or completion."),
        (400, "This model's maximum prompt length is 131072 but the request contains 140000"),
        (
            400,
            "Prompt contains 40000 tokens, too large for model with 32768 maximum context length",
        ),
        (400, "Input is too long for requested model."),
        (400, "Range of input length should be [1, 30720]"),
        (413, "too many tokens: total number of tokens in the prompt exceeds the limit"),
        (400, "The prompt is too long: 9000, model maximum context length: 8192"),
        (500, "input length exceeds maximum context length"),
    ],
)
def test_classify__prompt_too_long__is_context_length_exceeded(status: int, message: str) -> None:
    error = judge(status, {"error": {"message": message, "code": "whatever"}})

    assert isinstance(error, UpstreamRejected)
    assert error.code == "context_length_exceeded"
    assert error.status == (status if status != 500 else 400)
    assert error.message == message


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (
            403,
            {"code": 403, "message": "openai/gpt-4o requires moderation. Your input was flagged"},
        ),
        (400, {"code": "content_filter", "message": "The response was filtered"}),
        (400, {"message": "triggering Azure OpenAI's content management policy"}),
        (451, {"message": "blocked by content policy"}),
        (400, {"code": "data_inspection_failed", "message": "Input data may be bad"}),
        (403, {"message": "Content violates usage policies"}),
        (400, {"message": "rejected as a result of our safety system"}),
        (422, {"message": "inappropriate content"}),
    ],
)
def test_classify__moderation__is_the_requests_fault(status: int, error: Any) -> None:
    rejected = judge(status, {"error": error})

    assert isinstance(rejected, UpstreamRejected)
    assert (rejected.status, rejected.code) == (status, "content_policy_violation")
    assert rejected.message == error["message"]


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (401, {"error": {"message": "Incorrect API key provided"}}, Cause.AUTH),
        (403, {"error": {"message": "You do not have access"}}, Cause.AUTH),
        (403, b"<html>forbidden</html>", Cause.AUTH),
        (400, [{"error": {"code": 400, "message": "API key not valid. Please pass"}}], Cause.AUTH),
        (400, {"error": "Incorrect API key provided: sk-"}, Cause.AUTH),
        (402, {"error": {"message": "Insufficient Balance"}}, Cause.FUNDS),
        (429, {"error": {"code": "insufficient_quota", "message": "You exceeded"}}, Cause.FUNDS),
        (429, {"error": {"type": "exceeded_current_quota_error", "message": "m"}}, Cause.FUNDS),
        (403, {"error": {"message": "Your team has run out of credits"}}, Cause.FUNDS),
        (
            400,
            {"type": "error", "error": {"message": "Your credit balance is too low to access"}},
            Cause.FUNDS,
        ),
        (429, {"message": "Requests rate limit exceeded"}, Cause.RATE),
        (429, b"", Cause.RATE),
        (529, {"error": {"type": "overloaded_error", "message": "Overloaded"}}, Cause.SERVER),
        (500, {"error": {"message": "oops"}}, Cause.SERVER),
        (503, b"no healthy upstream", Cause.SERVER),
        (504, b"", Cause.TIMEOUT),
        (408, b"", Cause.SERVER),
        (302, b"", Cause.BAD_FORMAT),
        (418, b"", Cause.BAD_FORMAT),
    ],
)
def test_classify__provider_cannot_serve__names_the_cause(
    status: int, body: Any, cause: Cause
) -> None:
    failure = judge(status, body)

    assert isinstance(failure, UpstreamFailure)
    assert (failure.cause, failure.status) == (cause, status)


def test_classify__request_had_passed_too_many_servers__says_nothing_of_the_provider() -> None:
    said = {"message": "passed on too often", "code": "loop_detected"}

    assert isinstance(judge(508, {"error": said}), Looped)
    assert isinstance(judge(508, b""), Looped)
    assert isinstance(classify_said(said, secrets=SECRETS), Looped)
    assert not isinstance(judge(503, b""), Looped)


@pytest.mark.parametrize(
    "message",
    [
        "Invalid tool name: 'insufficient balance'",
        "messages[0].content: 'your credit balance is too low' is not allowed",
        "Unknown model 'api key not valid'",
        "'billing' is not one of ['auto', 'none']",
    ],
)
def test_classify__provider_quotes_the_request__the_provider_is_not_to_blame(message: str) -> None:
    assert isinstance(judge(400, {"error": {"message": message}}), UpstreamRejected)


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 60.0),
        ("Wed, 31 Dec 1969 23:00:00 GMT", None),
        ("99999999999", 86_400.0),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_read_retry_after__seconds_or_a_date(text: str | None, wait_s: float | None) -> None:
    assert read_retry_after(text, now_s=0.0) == wait_s


def test_classify__retry_after__is_kept_whatever_the_status() -> None:
    assert judge(503, b"", "7").retry_after_s == 7.0
    assert judge(429, b"", "7").retry_after_s == 7.0


@pytest.mark.parametrize(
    ("said", "kind", "status"),
    [
        ({"message": "m", "code": 429}, Cause.RATE, 429),
        ({"message": "m", "code": "rate_limit_exceeded"}, Cause.RATE, None),
        ({"message": "m", "type": "insufficient_quota"}, Cause.FUNDS, None),
        ({"message": "m", "type": "server_error"}, Cause.SERVER, None),
        ({"message": "m", "code": 502}, Cause.SERVER, 502),
        ("m", Cause.BAD_FORMAT, None),
        (True, Cause.BAD_FORMAT, None),
    ],
)
def test_classify_said__inside_a_success(said: Any, kind: Cause, status: int | None) -> None:
    failure = classify_said(said, secrets=SECRETS)

    assert isinstance(failure, UpstreamFailure)
    assert (failure.cause, failure.status) == (kind, status)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("at https://models.example/v1/chat with sk-secret-1234567890", "at … with …"),
        ("host models.example said no", "host … said no"),
        ("Bearer abcdefgh12345 and key-abcdefgh", "… and …"),
        ("connect to 10.0.0.7:8000 failed", "connect to … failed"),
        ("a\nb\tc\x00", "a b c"),
        ('broken\nTraceback (most recent call last):\n  File "x.py"', "broken"),
        ("It failed. You are not charged.", "It failed."),
        ("It failed. You are charged for what you received. Sorry.", "It failed. Sorry."),
        ("x" * 600, "x" * 500),
    ],
)
def test_clean__what_must_not_be_told__is_gone(text: str, shown: str) -> None:
    assert clean(text, SECRETS) == shown


LONG: Final = "string too long. Expected a string with maximum length 64, but got one with 159."


@pytest.mark.parametrize(
    ("field", "is_prompt"),
    [
        ("user", False),
        ("messages[1].tool_calls[0].id", False),
        ("messages[2].tool_call_id", False),
        ("messages[1].name", False),
        ("tools[0].function.description", False),
        ("tools[0].function.name", False),
        ("metadata.key", False),
        ("messages[1].content", True),
        ("messages[1].content[0].text", True),
        ("input[3].content", True),
        ("input", True),
        ("instructions", True),
        ("prompt", True),
    ],
)
def test_classify__field_too_long__is_the_conversation_only_where_that_field_is_of_it(
    field: str, is_prompt: bool
) -> None:
    code = "string_above_max_length"
    for error in (
        {"message": f"Invalid '{field}': {LONG}", "param": field, "code": code},
        {"message": f"Invalid '{field}': {LONG}", "code": code},
        {"message": f"Invalid '{field}': {LONG}"},
    ):
        found = judge(400, {"error": error})
        assert isinstance(found, UpstreamRejected)
        assert (found.code == CONTEXT_LENGTH_EXCEEDED) is is_prompt
