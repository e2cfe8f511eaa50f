// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ERC4626} from "@openzeppelin/contracts/token/ERC20/extensions/ERC4626.sol";
import {ERC721} from "@openzeppelin/contracts/token/ERC721/ERC721.sol";

contract Token is ERC721("Token", "TOKEN") {
    uint256 public nextId;

    function mint() external returns (uint256 id) {
        id = nextId++;
        _mint(msg.sender, id);
    }
}

contract Vault is ERC4626 {
    constructor(IERC20 asset_) ERC20("Vault", "VAULT") ERC4626(asset_) {}
}

contract OffsetVault is ERC4626 {
    constructor(IERC20 asset_) ERC20("Vault", "VAULT") ERC4626(asset_) {}

    function _decimalsOffset() internal pure override returns (uint8) {
        return 6;
    }
}
