/** Chains as a wallet that does not know them is told of them, by EIP-3085. Pure. */

/** What a wallet needs to know of a chain. */
export interface NewChain {
  readonly chainName: string;
  readonly rpcUrls: readonly string[];
  readonly blockExplorerUrls?: readonly string[];
  readonly nativeCurrency: { readonly name: string; readonly symbol: string; readonly decimals: number };
}

const ETHER = { name: "Ether", symbol: "ETH", decimals: 18 } as const;

/** Each chain's own public node: the wallet asks it, this page asks no other host. */
const CHAINS: Readonly<Record<number, NewChain>> = {
  8453: { chainName: "Base", rpcUrls: ["https://mainnet.base.org"], blockExplorerUrls: ["https://basescan.org"], nativeCurrency: ETHER },
  84532: {
    chainName: "Base Sepolia",
    rpcUrls: ["https://sepolia.base.org"],
    blockExplorerUrls: ["https://sepolia.basescan.org"],
    nativeCurrency: ETHER,
  },
  31337: { chainName: "Current devnet", rpcUrls: ["http://127.0.0.1:8545"], nativeCurrency: ETHER },
};

/** Returns a chain that a wallet can be told of; null for one that only its owner can add. */
export function findChain(chainId: number): NewChain | null {
  return CHAINS[chainId] ?? null;
}
