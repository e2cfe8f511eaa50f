"""Which endpoints are asked by messages, as they have shown what they speak."""

from typing import Final

import pytest

from market.text.speakers import REMEMBERED_S, Speakers
from serving.models.failures import (
    Cause,
    Looped,
    NotServed,
    UpstreamError,
    UpstreamFailure,
    UpstreamRejected,
)

URL: Final = ("https://seller.example/v1", "m")
OTHERS: Final = (("https://other.example/v1", "m"), ("https://seller.example/v1", "n"))
ABSENT: Final = NotServed(404, "Nothing here.")


def test_silent_endpoint__is_asked_by_chat_until_its_time_is_over() -> None:
    now_s = 1_000.0
    speakers = Speakers(lambda: now_s)
    assert speakers.may_speak(URL)
    speakers.note_silent(URL, ABSENT)
    assert not speakers.may_speak(URL)
    assert all(speakers.may_speak(other) for other in OTHERS)
    now_s += REMEMBERED_S
    assert speakers.may_speak(URL)


def test_speaking_endpoint__is_taken_at_its_word() -> None:
    speakers = Speakers()
    speakers.note(URL, speaks=True)
    for error in (UpstreamRejected(400, "No such field."), UpstreamFailure(Cause.SERVER)):
        assert not speakers.may_be_silent(URL, error)
        assert all(speakers.may_be_silent(other, error) for other in OTHERS)


def test_speaking_endpoint__that_has_nothing_there_any_more__is_not_believed_further() -> None:
    speakers = Speakers()
    speakers.note(URL, speaks=True)
    assert speakers.may_be_silent(URL, ABSENT)
    speakers.forget(URL)
    assert speakers.may_be_silent(URL, UpstreamFailure(Cause.SERVER))


def test_endpoint__that_refuses_messages_as_wrong__may_speak_all_the_same() -> None:
    speakers = Speakers()
    speakers.note_silent(URL, UpstreamRejected(400, "No such field."))
    assert speakers.may_speak(URL)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ABSENT, True),
        (UpstreamRejected(400, "Unknown path."), True),
        (UpstreamFailure(Cause.AUTH), True),
        (UpstreamFailure(Cause.BAD_FORMAT), True),
        (UpstreamFailure(Cause.SERVER), True),
        (UpstreamFailure(Cause.RATE), False),
        (UpstreamFailure(Cause.FUNDS), False),
        (UpstreamFailure(Cause.TIMEOUT), False),
        (UpstreamFailure(Cause.UNREACHABLE), False),
        (UpstreamFailure(Cause.DISCONNECTED), False),
        (Looped(Cause.SERVER), False),
    ],
)
def test_failure_of_an_unknown_endpoint__may_mean_that_it_does_not_speak(
    error: UpstreamError, expected: bool
) -> None:
    assert Speakers().may_be_silent(URL, error) is expected
