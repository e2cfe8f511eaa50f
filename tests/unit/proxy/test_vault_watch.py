"""What a vault says of itself is shown, or nothing is: nonsense costs no error and no memory."""

from typing import Any, cast

import pytest
from eth_abi.abi import encode
from eth_utils.abi import function_signature_to_4byte_selector

from contracts.blocks import Header
from contracts.reader import ChainReader
from proxy.vault_watch import VaultFigures, VaultWatch

HEAD = Header(1, "0x01", "0x00", 1_700_000_000, 0, None)


def word(value: int) -> bytes:
    return value.to_bytes(32, "big")


def text(value: str) -> bytes:
    return encode(["string"], [value])


HONEST = {"decimals()": word(18), "name()": text("Vault"), "symbol()": text("V")}


class Node:
    """A node with one block, and a vault that answers as it is told."""

    def __init__(self, answers: dict[str, bytes]) -> None:
        self._answers = {
            function_signature_to_4byte_selector(signature): answer
            for signature, answer in {**HONEST, **answers}.items()
        }

    def fetch_head(self) -> Header:
        return HEAD

    def fetch_header(self, *_: Any) -> Header | None:
        return HEAD

    def fetch_headers(self, numbers: Any) -> list[Header | None]:
        return [HEAD for _ in numbers]

    def fetch_call(self, _: str, data: bytes, **__: Any) -> bytes:
        return self._answers.get(data[:4], word(1_000_000))


async def show(**answers: bytes) -> VaultFigures | None:
    said = {f"{name}()": answer for name, answer in answers.items()}
    return await VaultWatch(
        cast(ChainReader, Node(said)), vault="0x" + "11" * 20, usdc="0x" + "22" * 20
    ).fetch()


async def test_vault__honest__is_shown() -> None:
    figures = await show()

    assert figures is not None
    assert (figures.name, figures.decimals, figures.total_assets_usdc) == ("Vault", 18, 1_000_000)


@pytest.mark.parametrize("decimals", [37, 255, 10**6, 2**256 - 1])
async def test_vault__decimals_beyond_any_share__is_not_shown(decimals: int) -> None:
    assert await show(decimals=word(decimals)) is None


@pytest.mark.parametrize(
    "name",
    [
        b"",
        word(5),
        word(2**255) + word(1),
        word(32) + word(2**200) + word(0),
        word(32) + word(4) + b"\xff\xfe\xfd\xfc".ljust(32, b"\0"),
    ],
)
async def test_vault__name_is_no_text__is_not_shown(name: bytes) -> None:
    assert await show(name=name) is None


async def test_vault__name_with_controls_and_no_end__only_what_prints_is_shown() -> None:
    figures = await show(name=text("Va\n\x1b[31mult\u202e" + "x" * 500))

    assert figures is not None
    assert figures.name.startswith("Va[31mult")
    assert len(figures.name) <= 80
    assert figures.name.isprintable()
