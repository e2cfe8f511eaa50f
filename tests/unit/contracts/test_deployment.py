"""Reading a deployment record: what is not one is a sentence, never a bug later on."""

import json
from pathlib import Path
from typing import Any

import pytest

from contracts.deployment import DeploymentUnknown, load_deployment

NAMES = ("position", "adapter", "payouts", "usdc", "multicall3", "vault")


def make_record() -> dict[str, Any]:
    contracts = {name: "0x" + f"{number:040X}" for number, name in enumerate(NAMES, 171)}
    return {"chain_id": 1, "block_number": 2, "block_hash": "0xAB", "contracts": contracts}


def test_load_deployment__a_record__in_lower_case(tmp_path: Path) -> None:
    path = tmp_path / "1.json"
    path.write_text(json.dumps(make_record()))

    deployment = load_deployment(path)

    assert (deployment.chain_id, deployment.block_hash) == (1, "0xab")
    assert deployment.position == "0x" + "0" * 38 + "ab"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        json.dumps({**make_record(), "contracts": []}),
        json.dumps({**make_record(), "chain_id": "one"}),
        json.dumps({**make_record(), "contracts": {"position": "0x" + "1" * 40}}),
        json.dumps({**make_record(), "contracts": {**make_record()["contracts"], "usdc": "0x01"}}),
    ],
)
def test_load_deployment__anything_else__refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "1.json"
    path.write_text(text)

    with pytest.raises(DeploymentUnknown, match=r"1\.json is not a deployment record"):
        load_deployment(path)


def test_load_deployment__no_file__says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(DeploymentUnknown, match="run the deploy script first"):
        load_deployment(tmp_path / "1.json")
