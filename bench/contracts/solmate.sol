// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ERC20} from "solmate/src/tokens/ERC20.sol";
import {ERC4626} from "solmate/src/tokens/ERC4626.sol";
import {ERC721} from "solmate/src/tokens/ERC721.sol";

contract Token is ERC721("Token", "TOKEN") {
    uint256 public nextId;

    function tokenURI(uint256) public pure override returns (string memory) {
        return "";
    }

    function mint() external returns (uint256 id) {
        id = nextId++;
        _mint(msg.sender, id);
    }
}

contract Vault is ERC4626 {
    constructor(ERC20 asset_) ERC4626(asset_, "Vault", "VAULT") {}

    function totalAssets() public view override returns (uint256) {
        return asset.balanceOf(address(this));
    }
}
