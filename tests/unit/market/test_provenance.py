"""Grades by host and name, with the table that comes with the market."""

import pytest

from market.identity.name_table import load_name_table
from serving.models.grades import Grade, get_stricter, meets, read_grade, read_served_by

TABLE = load_name_table()
AZURE = "https://tenant.openai.azure.com/openai/v1"
FIREWORKS = "https://api.fireworks.ai/inference/v1"
VERTEX = "https://aiplatform.googleapis.com/v1/projects/p/locations/global/endpoints"


def grade(base_url: str, model: str, upstream_model: str | None = None) -> str:
    row = {
        "seller_base_url": base_url,
        "model": model,
        "upstream_model": model if upstream_model is None else upstream_model,
    }
    return TABLE.find_grade(row, provider=TABLE.providers.find_provider(base_url)).value


@pytest.mark.parametrize(
    ("base_url", "model", "upstream_model"),
    [
        ("https://api.openai.com/v1", "gpt-4o", "gpt-4o-2024-08-06"),
        ("https://api.openai.com:443/v1", "openai/gpt-4o", "gpt-4o"),
        ("https://API.Anthropic.com/v1", "claude-opus-4.6", "claude-opus-4-6"),
        ("https://generativelanguage.googleapis.com/v1beta/openai", "gemini-2.5-flash", None),
        (f"{VERTEX}/openapi", "gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("https://api.x.ai/v1", "grok-4", None),
        ("https://api.deepseek.com", "deepseek-v3.2", "deepseek-chat"),
    ],
)
def test_grade__maker_s_host_and_name__is_a(
    base_url: str, model: str, upstream_model: str | None
) -> None:
    assert grade(base_url, model, upstream_model) == "A"


@pytest.mark.parametrize(
    ("base_url", "model", "upstream_model"),
    [
        ("https://api.together.xyz/v1", "llama-3.3-70b", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        (FIREWORKS, "deepseek-v3", "accounts/fireworks/models/deepseek-v3"),
        ("https://api.groq.com/openai/v1", "llama-3.3-70b", "llama-3.3-70b-versatile"),
        # Azure says in every answer what runs behind a customer's name.
        (AZURE, "gpt-4o", "my-deployment"),
        # Another maker's model at a maker's host is a company's.
        (f"{VERTEX}/openapi", "claude-opus-4.6", "anthropic/claude-opus-4-6"),
    ],
)
def test_grade__known_company__is_b(base_url: str, model: str, upstream_model: str) -> None:
    assert grade(base_url, model, upstream_model) == "B"


@pytest.mark.parametrize(
    ("base_url", "model", "upstream_model"),
    [
        ("http://127.0.0.1:8080/v1", "gpt-4o", None),
        ("https://llm.example.com/v1", "gpt-4o", None),
        # Hosts that look like others.
        ("https://api.openai.com.evil.example/v1", "gpt-4o", None),
        ("https://api-openai.com/v1", "gpt-4o", None),
        ("https://evil@api.openai.com/v1", "gpt-4o", None),
        # What TLS does not prove.
        ("http://api.openai.com/v1", "gpt-4o", None),
        ("https://api.openai.com:8443/v1", "gpt-4o", None),
        ("https://api.openai.com:x/v1", "gpt-4o", None),
        # A customer's own weights at a known company.
        (FIREWORKS, "llama-v3p3-70b-instruct", "accounts/evil/models/llama-v3p3-70b-instruct"),
        ("https://api.together.xyz/v1", "llama-3.3-70b", "evil/Llama-3.3-70B-Instruct"),
        ("https://api.openai.com/v1", "gpt-4o", "ft:gpt-4o-2024-08-06:evil::abc"),
        (f"{VERTEX}/1234567890", "gemini-2.5-flash", None),
        (f"{VERTEX}/openapi/../1234567890", "gemini-2.5-flash", None),
        (f"{VERTEX}/1234567890%2F..%2Fopenapi", "gemini-2.5-flash", None),
        # Another model of the same maker, sold as a dearer one.
        ("https://api.openai.com/v1", "gpt-4o", "gpt-4o-mini"),
        # Those who pass requests on.
        ("https://openrouter.ai/api/v1", "gpt-4o", "openai/gpt-4o"),
        ("https://api.surplusintelligence.ai/v1", "gpt-4o", None),
    ],
)
def test_grade__anything_else__is_d(base_url: str, model: str, upstream_model: str | None) -> None:
    assert grade(base_url, model, upstream_model) == "D"


def test_table__every_company__has_hosts() -> None:
    named = set(TABLE.providers.hosts.values())

    assert TABLE.provenance.companies.keys() <= named


def test_attested__unknown_host__is_c() -> None:
    found = TABLE.provenance.find_grade(
        "https://tee.example/v1",
        provider="tee.example",
        model="m",
        upstream_model="m",
        names=TABLE.models,
        is_attested=True,
    )

    assert found is Grade.ATTESTED


@pytest.mark.parametrize(
    ("minimum", "served"),
    [("A", "A"), ("B", "AB"), ("C", "ABC"), ("D", "ABCD")],
)
def test_meets__minimum__the_letters_up_to_it(minimum: str, served: str) -> None:
    assert "".join(one for one in Grade if meets(one, Grade(minimum))) == served


def test_get_stricter__of_two__the_one_that_lets_less_through() -> None:
    assert get_stricter(Grade.OTHER, Grade.COMPANY) is Grade.COMPANY
    assert get_stricter(None, Grade.MAKER) is Grade.MAKER
    assert get_stricter(None, None) is None


def test_read_grade__no_letter_of_ours__is_none() -> None:
    assert [read_grade(text) for text in (" b ", "", "E", "AB", "maker")] == [
        Grade.COMPANY,
        None,
        None,
        None,
        None,
    ]


def test_read_served_by__odd_headers__are_not_believed() -> None:
    headers = {
        "x-market-seller": "0xabc",
        "x-market-offer": "of_1",
        "x-market-host": "*.openai.azure.com",
        "x-market-grade": "B",
    }
    served = read_served_by(headers.get)
    assert served is not None
    assert (served.seller, served.host, served.grade) == ("0xabc", "*.openai.azure.com", "B")
    for name, odd in (
        ("x-market-seller", "a\nb"),
        ("x-market-host", "h" * 254),
        ("x-market-grade", "Z"),
        ("x-market-offer", ""),
    ):
        assert read_served_by({**headers, name: odd}.get) is None
        left = {key: text for key, text in headers.items() if key != name}
        assert read_served_by(left.get) is None
