/** What wallets sign by EIP-712. Pure. */

export interface Domain {
  readonly name: string;
  readonly version: string;
  readonly chainId: number;
  readonly verifyingContract: string;
}

/** Returns the JSON that `eth_signTypedData_v4` takes; integers stand in it as decimal text. */
export function toTypedData(
  domain: Domain,
  kind: string,
  fields: readonly (readonly [name: string, type: string, value: string | bigint])[],
): string {
  return JSON.stringify({
    domain,
    primaryType: kind,
    types: {
      EIP712Domain: [
        { name: "name", type: "string" },
        { name: "version", type: "string" },
        { name: "chainId", type: "uint256" },
        { name: "verifyingContract", type: "address" },
      ],
      [kind]: fields.map(([name, type]) => ({ name, type })),
    },
    message: Object.fromEntries(fields.map(([name, , value]) => [name, value.toString()])),
  });
}
