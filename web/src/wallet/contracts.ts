/** Our contracts through the visitor's own wallet: viem, loaded when a wallet is wanted. */
import {
  type Abi,
  type Hex,
  createClient,
  custom,
  decodeEventLog,
  decodeFunctionResult,
  encodeFunctionData,
  getAddress,
  parseSignature,
} from "viem";
import { call, getBlock, getBlockNumber, getTransaction, getTransactionCount, getTransactionReceipt } from "viem/actions";
import abi from "./abi.json" with { type: "json" };
import { type Outcome, type Rival, type Sent, judge } from "./following.ts";
import { WalletProblem, toProblem } from "./problems.ts";
import { type Provider, QUIET_MS, ask } from "./provider.ts";
import { findExecution } from "./executions.ts";
import { toTypedData } from "./typed-data.ts";
import { walletTexts } from "../text.ts";

export { getAddress };
export type Contract = keyof typeof abi;
export interface Step {
  readonly contract: Contract;
  readonly to: Hex;
  readonly name: string;
  readonly values: readonly unknown[];
}

const LOOK_EVERY_MS = 1_000;
const RIVAL_BLOCKS = 20n;

function clientOf(provider: Provider) {
  const transport = custom(
    { request: ({ method, params }: { method: string; params?: unknown }) => ask(provider, method, params as readonly unknown[], { limitMs: QUIET_MS }) },
    { retryCount: 0 },
  );
  return createClient({ transport });
}

export function encode(step: Step): Hex {
  return encodeFunctionData({ abi: abi[step.contract] as Abi, functionName: step.name, args: step.values });
}

/** Asks a contract's view. Throws `WalletProblem`. */
export async function read<Answer>(provider: Provider, step: Step): Promise<Answer> {
  try {
    const { data } = await call(clientOf(provider), { to: step.to, data: encode(step) });
    return decodeFunctionResult({
      abi: abi[step.contract] as Abi,
      functionName: step.name,
      args: step.values,
      data: data ?? "0x",
    }) as Answer;
  } catch (thrown) {
    throw toProblem(thrown);
  }
}

/** Runs a step against the newest state without sending it; throws what it would revert with. */
export async function simulate(provider: Provider, from: Hex, step: Step): Promise<void> {
  try {
    await call(clientOf(provider), { account: from, to: step.to, data: encode(step) });
  } catch (thrown) {
    throw toProblem(thrown);
  }
}

/** Has the wallet send a step; returns what to follow. Throws `WalletProblem`. */
export async function send(provider: Provider, from: Hex, step: Step): Promise<Sent> {
  const data = encode(step);
  // What a wallet of several owners answers is its own number, long before there is a transaction.
  const isShared = await hasCode(provider, from);
  const sinceBlock = isShared ? Number(await getBlockNumber(clientOf(provider), { cacheTime: 0 })) : null;
  const hash = await ask<Hex>(provider, "eth_sendTransaction", [{ from, to: step.to, data }]);
  if (!/^0x[0-9a-fA-F]{64}$/.test(String(hash))) throw new WalletProblem("unknown", walletTexts.oddHash);
  const nonce = await getTransaction(clientOf(provider), { hash }).then((seen) => seen.nonce, () => null);
  return { hash, from, to: step.to, data, nonce, sinceBlock };
}

/** Follows a transaction until its end; `note` hears where it stands. Ends with `signal`, by throwing. */
export async function follow(
  provider: Provider,
  first: Sent,
  note: (outcome: Outcome) => void,
  signal: AbortSignal,
): Promise<{ readonly outcome: Outcome; readonly logs: readonly Log[] }> {
  const client = clientOf(provider);
  let sent = first;
  let fromBlock = first.sinceBlock ?? null;
  for (;;) {
    if (signal.aborted) throw new WalletProblem("refused", walletTexts.givenUp);
    if (fromBlock !== null) {
      const looked = await findExecution(provider, sent, fromBlock).catch(() => null);
      fromBlock = looked?.nextBlock ?? fromBlock;
      const execution = looked?.execution;
      if (execution) {
        const done = await getTransactionReceipt(client, { hash: execution.hash });
        const kind = execution.isSuccess ? "mined" : "reverted";
        return { outcome: { kind, hash: execution.hash }, logs: done.logs as readonly Log[] };
      }
    }
    const receipt = await getTransactionReceipt(client, { hash: sent.hash }).catch(() => null);
    if (receipt) {
      const outcome = judge(sent, { receipt, isKnown: true, minedNonce: 0, rival: null });
      return { outcome, logs: receipt.logs as readonly Log[] };
    }
    const seen = await getTransaction(client, { hash: sent.hash }).catch(() => null);
    if (seen && sent.nonce === null) sent = { ...sent, nonce: seen.nonce };
    const minedNonce = await getTransactionCount(client, { address: sent.from, blockTag: "latest" }).catch(() => 0);
    const isPast = sent.nonce !== null && minedNonce > sent.nonce;
    const rival = isPast ? await findRival(provider, sent).catch(() => null) : null;
    const again = isPast ? await getTransactionReceipt(client, { hash: sent.hash }).catch(() => null) : null;
    const outcome = judge(sent, { receipt: again, isKnown: seen !== null, minedNonce, rival });
    note(outcome);
    if (outcome.kind === "mined" || outcome.kind === "reverted") {
      const done = await getTransactionReceipt(client, { hash: outcome.hash });
      return { outcome, logs: done.logs as readonly Log[] };
    }
    if (outcome.kind === "cancelled") return { outcome, logs: [] };
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
  }
}

export interface Log {
  readonly address: Hex;
  readonly data: Hex;
  readonly topics: [Hex, ...Hex[]];
}

async function findRival(provider: Provider, sent: Sent): Promise<Rival | null> {
  const client = clientOf(provider);
  const head = await getBlock(client, { includeTransactions: true });
  for (let number = head.number; number >= 0n && number > head.number - RIVAL_BLOCKS; number--) {
    const block = number === head.number ? head : await getBlock(client, { blockNumber: number, includeTransactions: true });
    const found = block.transactions.find(
      (one) => one.from.toLowerCase() === sent.from.toLowerCase() && one.nonce === sent.nonce,
    );
    if (found) {
      const receipt = await getTransactionReceipt(client, { hash: found.hash });
      return { hash: found.hash, to: found.to, data: found.input, status: receipt.status };
    }
  }
  return null;
}

/** Returns the first event of a name among logs, its values by name. */
export function findEvent(contract: Contract, name: string, logs: readonly Log[]): Record<string, unknown> | null {
  for (const log of logs) {
    try {
      const event = decodeEventLog({ abi: abi[contract] as Abi, data: log.data, topics: log.topics });
      if (event.eventName === name) return event.args as unknown as Record<string, unknown>;
    } catch {
      // Another contract's event, or one that is not in our list.
    }
  }
  return null;
}

/** Asks for a permit of USDC (EIP-2612) over `assets`; returns deadline, v, r, s. */
export async function signPermit(
  provider: Provider,
  permit: { readonly owner: Hex; readonly usdc: Hex; readonly spender: Hex; readonly assets: bigint; readonly chainId: number },
  signal: AbortSignal,
): Promise<readonly [bigint, number, Hex, Hex]> {
  const usdc = (name: string, values: readonly unknown[] = []): Step => ({ contract: "usdc", to: permit.usdc, name, values });
  const [nonce, name, block] = await Promise.all([
    read<bigint>(provider, usdc("nonces", [permit.owner])),
    read<string>(provider, usdc("name")),
    getBlock(clientOf(provider)),
  ]);
  const deadline = block.timestamp + 3_600n;
  const typed = toTypedData({ name, version: "2", chainId: permit.chainId, verifyingContract: permit.usdc }, "Permit", [
    ["owner", "address", permit.owner],
    ["spender", "address", permit.spender],
    ["value", "uint256", permit.assets],
    ["nonce", "uint256", nonce],
    ["deadline", "uint256", deadline],
  ]);
  const signed = await ask<Hex>(provider, "eth_signTypedData_v4", [permit.owner, typed], { signal });
  const { r, s, yParity } = parseSignature(signed);
  return [deadline, 27 + yParity, r, s];
}

/** Whether an account is a contract or delegates to one: USDC then takes a permit by ERC-1271 only. */
export async function hasCode(provider: Provider, address: Hex): Promise<boolean> {
  const code = await ask<Hex>(provider, "eth_getCode", [address, "latest"]);
  return typeof code === "string" && code.length > 2;
}

/** Returns the newest block's time, unix seconds. Throws `WalletProblem`. */
export async function readTime(provider: Provider): Promise<bigint> {
  try {
    return (await getBlock(clientOf(provider))).timestamp;
  } catch (thrown) {
    throw toProblem(thrown);
  }
}

export { canBatch, followBatch, sendBatch } from "./batch.ts";
