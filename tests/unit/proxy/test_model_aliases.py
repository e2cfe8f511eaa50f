"""Names that clients ask for, and the models that the operator means by them."""

import pytest

from proxy.model_aliases import ModelAliases, parse_aliases


def test_resolve__names_come_before_patterns_and_patterns_in_order() -> None:
    aliases = parse_aliases("claude-haiku-*=small, claude-*=large claude-haiku-4-5=exact")

    assert aliases.resolve("claude-haiku-4-5") == "exact"
    assert aliases.resolve("claude-haiku-4-6") == "small"
    assert aliases.resolve("claude-opus-5") == "large"
    assert aliases.resolve("gpt-4o") == "gpt-4o"
    assert ModelAliases().resolve("claude-opus-5") == "claude-opus-5"


@pytest.mark.parametrize("text", ["a", "a=", "=b", "a=b a=c", "a=b*", "<a>=b", "a=<b>", "a[b]=c"])
def test_parse__odd__is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="alias"):
        parse_aliases(text)


@pytest.mark.parametrize("text", ["a=b b=c", "a=b b*=c", "x*=a a=b", "a=a2 a*=b"])
def test_parse__alias_of_an_alias__is_refused_and_not_half_followed(text: str) -> None:
    with pytest.raises(ValueError, match="is an alias itself"):
        parse_aliases(text)


@pytest.mark.parametrize("text", ["a=a", "claude-*=claude-opus-5 claude-opus-5=claude-opus-5"])
def test_parse__name_that_means_itself__is_taken(text: str) -> None:
    assert parse_aliases(text).resolve("claude-opus-5") == "claude-opus-5"
