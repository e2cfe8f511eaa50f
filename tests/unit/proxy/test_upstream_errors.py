"""What a client of the proxy is told where upstream did not serve.

::

    a rejection   upstream's status, words and known code; "do not retry" where that is meant
    a failure     504 or 502 for broken calls; 503 where waiting helps; the operator's troubles said
    in a stream   upstream's own words, cleaned of secrets
"""

import pytest

from proxy.chat.upstream_errors import describe_said, explain_no_answer, translate, translated
from serving.http.errors import ApiError
from serving.models.failures import Cause, UpstreamFailure, UpstreamRejected


@pytest.mark.parametrize(
    ("failure", "status", "code", "words"),
    [
        (UpstreamFailure(Cause.TIMEOUT), 504, "upstream_timeout", "did not answer in time"),
        (UpstreamFailure(Cause.UNREACHABLE), 502, "upstream_unreachable", "cannot be reached"),
        (UpstreamFailure(Cause.DISCONNECTED), 502, "upstream_disconnected", "broke off"),
        (UpstreamFailure(Cause.BAD_FORMAT), 502, "upstream_invalid_response", "not a completion"),
        (UpstreamFailure(Cause.FUNDS), 503, "operator_credit_spent", "own credit"),
        (UpstreamFailure(Cause.AUTH), 502, "upstream_error", "refuses the operator's key"),
        (UpstreamFailure(Cause.RATE), 503, "upstream_rate_limited", "is busy"),
        (UpstreamFailure(Cause.SERVER, status=503), 503, "upstream_error", "cannot serve this now"),
        (UpstreamFailure(Cause.SERVER, status=500), 502, "upstream_error", "HTTP status 500"),
        (UpstreamFailure(Cause.SERVER), 502, "upstream_error", "provider failed."),
    ],
)
def test_translate__failure__status_code_and_words(
    failure: UpstreamFailure, status: int, code: str, words: str
) -> None:
    told = translate(failure)

    assert (told.status, told.code) == (status, code)
    assert words in told.message


@pytest.mark.parametrize(
    ("failure", "retry_after"),
    [
        (UpstreamFailure(Cause.RATE), "5"),
        (UpstreamFailure(Cause.RATE, retry_after_s=1.2), "2"),
        (UpstreamFailure(Cause.SERVER, status=529, retry_after_s=30), "30"),
        (UpstreamFailure(Cause.SERVER, status=500, retry_after_s=7), "7"),
    ],
)
def test_translate__waiting_helps__says_how_long(
    failure: UpstreamFailure, retry_after: str
) -> None:
    assert translate(failure).headers["retry-after"] == retry_after


@pytest.mark.parametrize("cause", [Cause.FUNDS, Cause.AUTH])
def test_translate__only_the_operator_can_mend_it__no_retry(cause: Cause) -> None:
    assert translate(UpstreamFailure(cause)).headers["x-should-retry"] == "false"


def test_translate__upstreams_words_and_code__kept() -> None:
    failure = UpstreamFailure(Cause.RATE, status=429, message="Slow down", code="too_fast")

    told = translate(failure)

    assert "It said: Slow down." in told.message
    assert told.facts == {"upstream_code": "too_fast"}


def test_translate__market_has_only_dearer_sellers__price_changed() -> None:
    told = translate(UpstreamFailure(Cause.SERVER, status=503, code="price_ceiling_not_met"))

    assert (told.status, told.code) == (503, "price_changed")


@pytest.mark.parametrize(
    ("rejection", "code", "retries"),
    [
        (UpstreamRejected(400, "Too long.", "messages", "context_length_exceeded"), None, True),
        (UpstreamRejected(422, "Odd.", None, "their_own"), "upstream_rejected", True),
        (UpstreamRejected(403, "Not here.", None, None), "upstream_rejected", False),
    ],
)
def test_translate__rejection__its_status_words_and_known_code(
    rejection: UpstreamRejected, code: str | None, retries: bool
) -> None:
    told = translate(rejection)

    assert (told.status, told.message) == (rejection.status, rejection.message)
    assert told.code == (code or rejection.code)
    assert told.facts == ({} if rejection.code is None else {"upstream_code": rejection.code})
    assert (told.headers.get("x-should-retry") != "false") is retries


def test_translate__method_not_allowed__not_the_clients_fault() -> None:
    told = translate(UpstreamRejected(405, "No.", None, None))

    assert told.status == 502
    assert "serves no completions" in told.message


def test_translated__upstream_fails__raised_as_told() -> None:
    with pytest.raises(ApiError) as caught, translated():
        raise UpstreamFailure(Cause.TIMEOUT)
    assert caught.value.status == 504


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"message": "Broken key sk-secret!"}, "The model's provider failed: Broken key"),
        ({"message": ""}, "The model's provider failed."),
        (None, "The model's provider failed."),
    ],
)
def test_describe_said__error_in_a_stream__its_words_without_secrets(
    said: object, message: str
) -> None:
    told = describe_said(said, secrets=("sk-secret",))

    assert told.message.startswith(message)
    assert "sk-secret" not in told.message


def test_describe_said__rate_limit_in_a_stream__is_one() -> None:
    told = describe_said({"message": "Rate limit", "code": "rate_limit_exceeded"}, secrets=())

    assert told.code == "upstream_rate_limited"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"message": "This model's maximum context length is 8192"}, "context_length_exceeded"),
        (
            {"message": "Too much", "code": "context_length_exceeded", "type": "server_error"},
            "context_length_exceeded",
        ),
        ({"message": "prompt is too long: 9 > 8", "code": 400}, "context_length_exceeded"),
        ({"message": "It was flagged by moderation", "code": 400}, "content_policy_violation"),
    ],
)
def test_describe_said__what_clients_act_on__keeps_its_code(said: object, code: str) -> None:
    assert describe_said(said, secrets=()).code == code


def test_explain_no_answer__nothing_or_an_error__said() -> None:
    assert explain_no_answer(None, secrets=()).code == "upstream_invalid_response"
    told = explain_no_answer({"message": "No credit", "code": "insufficient_quota"}, secrets=())
    assert told.code == "operator_credit_spent"
