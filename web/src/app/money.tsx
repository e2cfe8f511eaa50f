/** Money that the server states as a decimal string, and where a payout can be looked up. */
import { formatUnits } from "../amounts.ts";
import { Hex } from "./parts.tsx";
import { common } from "../text.ts";

/** Returns a decimal string of at most six decimals in 1e-6; null where it is none. Exact. */
export function parseDecimal(text: string): bigint | null {
  const match = /^(-?)(\d{1,20})(?:\.(\d{1,6}))?$/.exec(text.trim());
  if (!match) return null;
  const value = BigInt(match[2] ?? "0") * 1_000_000n + BigInt((match[3] ?? "").padEnd(6, "0"));
  return match[1] ? -value : value;
}

/** Returns a decimal string with thousands marked and at least two decimals; as it is where it is none. */
export function showDecimal(text: string): string {
  const value = parseDecimal(text);
  return value === null ? text : formatUnits(value, 6, 2);
}

/** An amount in US dollars, or in the coin that it is paid in. */
export function Dollars({ of, unit = "USD" }: { readonly of: string; readonly unit?: string }) {
  return (
    <span class="amount">
      {showDecimal(of)} <abbr title={unit}>{unit}</abbr>
    </span>
  );
}

const EXPLORERS: Readonly<Record<string, readonly [host: string, path: string]>> = {
  erc20: ["etherscan.io", "/tx/"],
  bep20: ["bscscan.com", "/tx/"],
  trc20: ["tronscan.org", "/#/transaction/"],
};
/** Of the network `base`, which is the chain of the market's contracts. */
const OWN_CHAINS: Readonly<Record<number, readonly [host: string, path: string]>> = {
  8453: ["basescan.org", "/tx/"],
  84532: ["sepolia.basescan.org", "/tx/"],
};

/** Returns where anybody can look a transaction up; null for a network, chain or hash that is not known. */
export function explorerOf(network: string, chainId: number, hash: string): { readonly host: string; readonly url: string } | null {
  const found = network === "base" ? OWN_CHAINS[chainId] : EXPLORERS[network];
  if (!found || !/^(0x)?[0-9a-fA-F]{64}$/.test(hash)) return null;
  return { host: found[0], url: `https://${found[0]}${found[1]}${hash}` };
}

/** A transaction: its hash to copy, and a link that names the host that it leads to. */
export function TxLink({ network, chainId, hash }: { readonly network: string; readonly chainId: number; readonly hash: string | null }) {
  if (hash === null) return <span class="quiet">{common.noTx}</span>;
  const found = explorerOf(network, chainId, hash);
  return (
    <>
      <Hex of={hash} />
      {found && (
        <small>
          <a href={found.url} target="_blank" rel="noopener noreferrer">
            {found.host}
            <span class="hidden"> {common.newTab}</span>
          </a>
        </small>
      )}
    </>
  );
}
