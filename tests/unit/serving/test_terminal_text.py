"""Words of others for a terminal: what controls one is shown as ``?``; the rest stays."""

import pytest

from serving.process.terminal_text import clean_line, clean_lines


def test_line__what_is_not_printable__is_a_question_mark() -> None:
    assert clean_line("a\x1b[2Jb\nc\td\x9be\u202ef é") == "a?[2Jb?c?d?e?f é"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("one\n\ttwo\r\nthree", "one\n\ttwo\nthree"),
        ("a\x1b]0;title\x07b\x9b2Jc\rd\x7f\x00", "a?]0;title?b?2Jc?d??"),
        ("pay \u202e001\u202c \u2066x\u2069", "pay ?001? ?x?"),
        # Joined emoji, Persian's non-joiner, a space that does not break.
        (
            "👩\u200d💻 \u0645\u06cc\u200c\u062e\u00a0✓",
            "👩\u200d💻 \u0645\u06cc\u200c\u062e\u00a0✓",
        ),
    ],
)
def test_lines__only_what_controls_a_terminal__is_a_question_mark(text: str, shown: str) -> None:
    assert clean_lines(text) == shown
