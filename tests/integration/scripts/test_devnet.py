"""The devnet's own transactions, as a plain wallet sends them."""

from typing import Any, cast

from scripts.stack.devnet import Devnet, dev_account, send
from tests.support.deploy import World


class Devnetlike:
    """As much of a devnet as sending needs."""

    def __init__(self, web3: Any) -> None:
        self.web3 = web3


def test_send__state_changes_before_its_block__has_gas_to_spare(world: World) -> None:
    sender = dev_account(2)
    world.anvil.fund(sender.address)
    call = world.contracts.usdc.functions.faucet(sender.address, 1)
    estimate = call.estimate_gas({"from": sender.address})

    receipt = send(cast(Devnet, Devnetlike(world.anvil.web3)), sender, call)

    sent = world.anvil.web3.eth.get_transaction(receipt["transactionHash"])
    assert sent["gas"] == estimate + estimate // 4
    assert receipt["status"] == 1
