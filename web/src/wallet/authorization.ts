/** A deposit that its owner signs by EIP-3009 and anybody may send: the owner needs no ether. */
import { type Hex, encodeAbiParameters, keccak256, parseSignature } from "viem";
import type { Step } from "./contracts.ts";
import { read } from "./contracts.ts";
import { type Provider, ask } from "./provider.ts";
import { toTypedData } from "./typed-data.ts";

export interface Authorization {
  readonly owner: Hex;
  readonly chainId: number;
  readonly usdc: Hex;
  readonly adapter: Hex;
  /** 1e-6 USDC. */
  readonly assets: bigint;
  /** An opening's four fields, or a position and its vault: the signature is good for nothing else. */
  readonly bound: readonly unknown[];
  /** The fewest shares that the owner accepts. */
  readonly floor: bigint;
  /** Unix seconds, exclusive. */
  readonly validBefore: bigint;
}

const OPENING = ["uint8", "uint16", "address", "uint16"];
const POSITION = ["uint256", "address"];

/** Returns the nonce that binds an authorization to one deposit, as the adapter computes it. */
export function bindNonce(terms: Authorization, salt: Hex): Hex {
  const bound = terms.bound.length === OPENING.length ? OPENING : POSITION;
  const types = ["uint256", "address", "address", ...bound, "uint256", "bytes32"];
  const values = [BigInt(terms.chainId), terms.adapter, terms.owner, ...terms.bound, terms.floor, salt];
  return keccak256(encodeAbiParameters(types.map((type) => ({ type })), values));
}

/** Has the wallet sign; returns validAfter, validBefore, salt, v, r, s. Throws `WalletProblem`. */
export async function signAuthorization(
  provider: Provider,
  terms: Authorization,
  signal: AbortSignal,
): Promise<readonly [bigint, bigint, Hex, number, Hex, Hex]> {
  const naming: Step = { contract: "usdc", to: terms.usdc, name: "name", values: [] };
  const name = await read<string>(provider, naming);
  const random = crypto.getRandomValues(new Uint8Array(32));
  const salt: Hex = `0x${Array.from(random, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
  const typed = toTypedData(
    { name, version: "2", chainId: terms.chainId, verifyingContract: terms.usdc },
    "ReceiveWithAuthorization",
    [
      ["from", "address", terms.owner],
      ["to", "address", terms.adapter],
      ["value", "uint256", terms.assets],
      ["validAfter", "uint256", 0n],
      ["validBefore", "uint256", terms.validBefore],
      ["nonce", "bytes32", bindNonce(terms, salt)],
    ],
  );
  const signed = await ask<Hex>(provider, "eth_signTypedData_v4", [terms.owner, typed], { signal });
  const { r, s, yParity } = parseSignature(signed);
  return [0n, terms.validBefore, salt, 27 + yParity, r, s];
}
