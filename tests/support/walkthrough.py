"""Following a page of the documents: its Python as it stands, its `cast` lines as `cast` does."""

import re
import shlex
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from string import Template
from typing import Any

from eth_utils.abi import collapse_if_tuple
from web3.contract import Contract

from tests.support.deploy import World
from tests.support.documents import Document


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of the page."""

    heading: str
    language: str
    line: int
    text: str


def read_blocks(page: Document) -> list[Block]:
    """Return the fenced blocks below the page's headings of the second rank, in order."""
    blocks, heading = [], ""
    for match in re.finditer(r"^## ([^\n]+)$|^```(\w+)\n(.*?)^```$", page.text, re.M | re.S):
        heading = match[1] or heading
        if match[2]:
            line = page.text[: match.start()].count("\n") + 1
            blocks.append(Block(heading, match[2], line, match[3]))
    return blocks


class Reader:
    """Somebody who follows a page with a terminal open, and Python in it.

    Signatures are made in Python both ways: a block that sends nothing always runs.
    """

    def __init__(self, world: World, page: Document, environment: Mapping[str, str]) -> None:
        self.blocks = read_blocks(page)
        self._world = world
        self._path = page.path
        self._variables = dict(environment)
        self._names: dict[str, Any] = {}

    def follow(self, heading: str, way: str) -> None:
        """Run a heading's blocks one way, ``python`` or ``cast``."""
        for block in self.blocks:
            if block.heading != heading:
                continue
            sends = re.search(r"^(?:\w+ = )?send\(", block.text, re.M) is not None
            if block.language == "sh" and way == "cast":
                self.run_shell(block)
            if block.language == "python" and (way == "python" or not sends):
                self.run_python(block)

    def run_python(self, block: Block) -> None:
        """Run a block as it stands, and export what it prints for the terminal."""
        said = StringIO()
        code = compile("\n" * block.line + block.text, str(self._path), "exec")
        with redirect_stdout(said):
            exec(code, self._names)
        self._export(said.getvalue())

    def run_shell(self, block: Block) -> None:
        """Run a block's `cast` lines, and what it exports."""
        for line in block.text.splitlines():
            program, *_ = line.split()
            if program == "export":
                self._export(line)
            elif not line.startswith("cast wallet import "):
                self._run_cast(line)

    def _export(self, text: str) -> None:
        for line in re.findall(r"^export (.+)$", text, re.M):
            for name, value in (word.split("=") for word in line.split()):
                if "…" in value:  # what the reader knows
                    assert name in self._variables, name
                else:
                    self._variables[name] = value

    def _run_cast(self, line: str) -> None:
        program, verb, *words = shlex.split(Template(line).substitute(self._variables))
        role = "owner"
        if words[0] == "--account":
            role, words = {"relayer": "outsider"}[words[1]], words[2:]
        to, signature, *arguments = words
        named, outputs = split_signature(signature)
        contract = self._contract_at(to)
        function = contract.get_function_by_signature(named)
        abi: Any = function.abi
        types = [collapse_if_tuple(one) for one in abi["inputs"]]
        assert len(arguments) == len(types), line
        call = function(*map(read_word, types, arguments))
        assert program == "cast"
        if verb == "send":
            assert (abi["stateMutability"], outputs) == ("nonpayable", None), line
            self._world.send(role, call)
        else:
            returned = ",".join(collapse_if_tuple(one) for one in abi["outputs"])
            assert (verb, abi["stateMutability"]) == ("call", "view"), line
            assert outputs == f"({returned})", line
            call.call()

    def _contract_at(self, address: str) -> Contract:
        ours = self._world.contracts
        known = (ours.usdc, ours.position, ours.adapter, self._world.vault)
        return {contract.address: contract for contract in known}[address]  # type: ignore[index]


def split_signature(text: str) -> tuple[str, str | None]:
    """Return ``name(inputs)``, and ``(outputs)`` where they are named."""
    match = re.fullmatch(r"(\w+\([\w,]*\))(\(.*\))?", text)
    assert match is not None, text
    return match[1], match[2]


def read_word(type_name: str, word: str) -> Any:
    """Read an argument as `cast` does; all bytes on the page are signatures."""
    if type_name.startswith("uint"):
        return int(word)
    assert len(word) == {"address": 42, "bytes32": 66, "bytes": 132}[type_name], word
    return word if type_name == "address" else bytes.fromhex(word[2:])
