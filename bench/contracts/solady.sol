// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ERC4626} from "solady/src/tokens/ERC4626.sol";
import {ERC721} from "solady/src/tokens/ERC721.sol";

contract Token is ERC721 {
    uint256 public nextId;

    function name() public pure override returns (string memory) {
        return "Token";
    }

    function symbol() public pure override returns (string memory) {
        return "TOKEN";
    }

    function tokenURI(uint256) public pure override returns (string memory) {
        return "";
    }

    function mint() external returns (uint256 id) {
        id = nextId++;
        _mint(msg.sender, id);
    }
}

contract Vault is ERC4626 {
    address private immutable _asset;

    constructor(address asset_) {
        _asset = asset_;
    }

    function asset() public view override returns (address) {
        return _asset;
    }

    function name() public pure override returns (string memory) {
        return "Vault";
    }

    function symbol() public pure override returns (string memory) {
        return "VAULT";
    }

    function _underlyingDecimals() internal pure override returns (uint8) {
        return 6;
    }
}
