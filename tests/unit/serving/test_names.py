"""Names of models that strangers give."""

import pytest

from serving.models.names import find_look_alike, index_looks, is_model_name
from serving.models.references import References

KNOWN = index_looks(("gpt-4o", "o1", "claude-opus-4-6", "Llama-3.3", "llama-3.3", "gemini-pro"))


@pytest.mark.parametrize("name", ["gpt-4o", "a", "x" * 200, "meta/llama-3.3:free", "m@2+b_c"])
def test_is_model_name__plain__yes(name: str) -> None:
    assert is_model_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "x" * 201, "!000", "a b", "<b>", "a\n", "gpt-4о", "a\u202eb", "a%20b", "a,b", '"', "~a"],  # noqa: RUF001
)
def test_is_model_name__anything_else__no(name: str) -> None:
    assert not is_model_name(name)


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("GPT-4o", "gpt-4o"),
        ("gpt-40", "gpt-4o"),
        ("gpt_4o", "gpt-4o"),
        ("ol", "o1"),
        ("oI", "o1"),
        ("01", "o1"),
        ("claude-0pus-4.6", "claude-opus-4-6"),
        ("claude-opus-4_6", "claude-opus-4-6"),
        ("LLAMA-3.3", "Llama-3.3"),
        ("gernini-pro", "gemini-pro"),
    ],
)
def test_find_look_alike__to_a_reader_the_same__is_named(name: str, known: str) -> None:
    assert find_look_alike(name, KNOWN) == known


@pytest.mark.parametrize(
    "name", ["gpt-4o", "Llama-3.3", "llama-3.3", "claude-opus-4.6", "gpt-4o-mini", "o2", "mine"]
)
def test_find_look_alike__known_or_distinct__none(name: str) -> None:
    assert find_look_alike(name, KNOWN) is None


def test_looks__of_the_data_set__has_the_models_that_are_imitated() -> None:
    looks = References().looks

    assert find_look_alike("gpt-40", looks) == "gpt-4o"
    assert find_look_alike("claude-opus-4.6", looks) is None
