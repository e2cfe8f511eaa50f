/** A deposit by the fewest signatures that the wallet and the token allow. */
import type { Hex } from "viem";
import type { Overview } from "../api/proxy.ts";
import { formatUsdc } from "../amounts.ts";
import { depositTexts as texts, walletTexts } from "../text.ts";
import type { Tools } from "./acting.ts";
import type { Log, Step } from "./contracts.ts";
import { WalletProblem } from "./problems.ts";

/** The terms of a deposit, as the page shows them and the wallet signs them. */
export interface Terms {
  readonly assetsUsdc: bigint;
  readonly tier: number;
  readonly smoothingBps: number;
  readonly intervalMinutes: number;
  /** The position to add to; null opens a new one. */
  readonly tokenId: bigint | null;
}

export interface Wish extends Terms {
  /** Sign nothing but transactions: the visitor chose to approve. */
  readonly byApproval: boolean;
}

/** Returns the fewest shares to accept: a preview less 0.1 %, rounded down. */
export function leastShares(preview: bigint): bigint {
  return (preview * 999n) / 1_000n;
}

const OWN_S = 3_600n;
/** Another wallet, perhaps another person's, has a day to send what was signed. */
const ENTRUSTED_S = 86_400n;

export type Way = "plain" | "batch" | "authorization" | "permit" | "approve";

/** What the wallet and the token can. */
export interface Abilities {
  readonly isApproved: boolean;
  readonly canBatch: boolean;
  /** The account has code: USDC would ask that code, not its key, about v, r, s. */
  readonly isContract: boolean;
  readonly hasAuthorizations: boolean;
  readonly hasPermits: boolean;
}

/** Returns the ways to deposit, the one with the fewest signatures first; the last always works. */
export function listWays(able: Abilities, byApproval: boolean): readonly Way[] {
  if (able.isApproved) return ["plain"];
  const ways: Way[] = able.canBatch ? ["batch"] : [];
  if (!byApproval && !able.isContract) {
    if (able.hasAuthorizations) ways.push("authorization");
    if (able.hasPermits) ways.push("permit");
  }
  return [...ways, "approve"];
}

/** Carries out a deposit; returns the position's number. Throws `WalletProblem`. */
export async function deposit(tools: Tools, overview: Overview, wish: Wish): Promise<bigint> {
  const plan = await prepare(tools, overview, wish);
  let ways = listWays(await learnAbilities(tools, plan, wish.byApproval), wish.byApproval);
  for (;;) {
    const [way = "approve", ...others] = ways;
    try {
      return readOutcome(tools, plan, await carryOut(tools, plan, way));
    } catch (error) {
      // A wallet that lacks a method is asked by the next way; one that refuses is not asked again.
      const isLacking = error instanceof WalletProblem && error.kind === "unsupported";
      if (!isLacking || others.length === 0) throw error;
      ways = way === "batch" ? others : ["approve"];
    }
  }
}

interface Plan {
  readonly wish: Terms;
  readonly usdc: Hex;
  readonly adapter: Hex;
  /** Where it goes: an opening's fields, or the position and its vault. */
  readonly target: readonly unknown[];
  readonly vault: Hex;
  readonly floor: bigint;
  readonly name: "open" | "deposit";
}

/** Looks at everything that the terms depend on. Throws `WalletProblem` where it cannot be done. */
async function prepare(tools: Tools, overview: Overview, wish: Terms): Promise<Plan> {
  const { wallet, chain } = tools;
  const usdc = overview.contracts.usdc as Hex;
  const adapter = overview.contracts.adapter as Hex;
  tools.say(texts.looking);
  // A wallet can name our chain and ask the node of another.
  if (!(await chain.hasCode(wallet.provider, adapter))) throw new WalletProblem("other_chain", walletTexts.notThere);
  const booked =
    wish.tokenId === null
      ? null
      : await chain.read<{ vault: Hex }>(wallet.provider, { contract: "adapter", to: adapter, name: "positionOf", values: [wish.tokenId] });
  const vault = booked?.vault ?? (overview.vault_address as Hex);
  const [balance, preview] = await Promise.all([
    ask<bigint>(tools, "usdc", usdc, "balanceOf", wallet.address),
    ask<bigint>(tools, "vault", vault, "previewDeposit", wish.assetsUsdc),
  ]);
  if (balance < wish.assetsUsdc) throw new WalletProblem("reverted", texts.tooLittle(formatUsdc(balance)));
  const target =
    wish.tokenId === null ? [wish.tier, wish.smoothingBps, vault, wish.intervalMinutes] : [wish.tokenId];
  return { wish, usdc, adapter, target, vault, floor: leastShares(preview), name: wish.tokenId === null ? "open" : "deposit" };
}

function ask<Answer>(tools: Tools, contract: Step["contract"], to: Hex, name: string, ...values: unknown[]): Promise<Answer> {
  return tools.chain.read<Answer>(tools.wallet.provider, { contract, to, name, values });
}

async function learnAbilities(tools: Tools, plan: Plan, byApproval: boolean): Promise<Abilities> {
  const { wallet, chain } = tools;
  const answers = (name: string, ...values: unknown[]): Promise<boolean> =>
    byApproval ? Promise.resolve(false) : ask(tools, "usdc", plan.usdc, name, ...values).then(() => true, () => false);
  const [allowance, canBatch, isContract, hasAuthorizations, hasPermits] = await Promise.all([
    ask<bigint>(tools, "usdc", plan.usdc, "allowance", wallet.address, plan.adapter),
    chain.canBatch(wallet.provider, wallet.address, wallet.chainId),
    chain.hasCode(wallet.provider, wallet.address),
    answers("authorizationState", wallet.address, `0x${"00".repeat(32)}`),
    answers("nonces", wallet.address),
  ]);
  return { isApproved: allowance >= plan.wish.assetsUsdc, canBatch, isContract, hasAuthorizations, hasPermits };
}

async function carryOut(tools: Tools, plan: Plan, way: Way): Promise<readonly Log[]> {
  const { wallet, chain } = tools;
  const { adapter, usdc, target, floor, name } = plan;
  const assets = plan.wish.assetsUsdc;
  const plain: Step = { contract: "adapter", to: adapter, name, values: [...target, assets, floor] };
  const approval: Step = { contract: "usdc", to: usdc, name: "approve", values: [adapter, assets] };
  switch (way) {
    case "plain":
      return tools.carryOut(texts.stepDeposit, plain);
    case "batch":
      return tools.carryOutAll(texts.stepBoth, [approval, plain]);
    case "approve":
      await tools.carryOut(texts.stepApprove, approval);
      return tools.carryOut(texts.stepDeposit, plain);
    case "authorization":
      return tools.carryOut(texts.stepDeposit, await authorize(tools, plan, OWN_S));
    case "permit": {
      tools.say(walletTexts.confirm(texts.stepPermit));
      const permit = { owner: wallet.address, usdc, spender: adapter, assets, chainId: wallet.chainId };
      const signed = await chain.signPermit(wallet.provider, permit, tools.signal);
      const values = [...target, assets, floor, ...signed];
      return tools.carryOut(texts.stepDeposit, { contract: "adapter", to: adapter, name: `${name}WithPermit`, values });
    }
  }
}

/** Has the wallet sign a deposit that anybody may send for `validS` seconds; returns that step. */
async function authorize(tools: Tools, plan: Plan, validS: bigint): Promise<Step> {
  const { wallet, chain } = tools;
  tools.say(walletTexts.confirm(texts.stepPermit));
  const { signAuthorization } = await import("./authorization.ts");
  const isNew = plan.wish.tokenId === null;
  const bound = isNew ? plan.target : [plan.wish.tokenId, plan.vault];
  const terms = { owner: wallet.address, chainId: wallet.chainId, usdc: plan.usdc, adapter: plan.adapter, assets: plan.wish.assetsUsdc };
  const nowS = await chain.readTime(wallet.provider);
  const signed = await signAuthorization(wallet.provider, { ...terms, bound, floor: plan.floor, validBefore: nowS + validS }, tools.signal);
  const values = [...(isNew ? [wallet.address] : []), ...plan.target, plan.wish.assetsUsdc, plan.floor, ...signed];
  return { contract: "adapter", to: plan.adapter, name: `${plan.name}WithAuthorization`, values };
}

/** Returns the position's number, if what happened is what was agreed. Throws `WalletProblem`. */
function readOutcome(tools: Tools, plan: Plan, logs: readonly Log[]): bigint {
  const ours = logs.filter((log) => log.address.toLowerCase() === plan.adapter.toLowerCase());
  const done = tools.chain.findEvent("adapter", "Deposited", ours);
  const tokenId = done?.["tokenId"];
  // The vault may take less than it is given, never more.
  const isAgreed = typeof done?.["assets"] === "bigint" && done["assets"] <= plan.wish.assetsUsdc;
  if (typeof tokenId !== "bigint" || !isAgreed) throw new WalletProblem("unknown", texts.noNumber);
  if (plan.wish.tokenId !== null && tokenId !== plan.wish.tokenId) throw new WalletProblem("unknown", texts.noNumber);
  return tokenId;
}

/** A deposit that its owner signed and anybody may send. It is no secret: it can do nothing else. */
export interface Entrusted {
  readonly chainId: number;
  readonly adapter: Hex;
  readonly name: "openWithAuthorization" | "depositWithAuthorization";
  readonly values: readonly string[];
}

/** Has the wallet sign a deposit that another wallet sends, for a day. Throws `WalletProblem`. */
export async function entrust(tools: Tools, overview: Overview, wish: Terms): Promise<Entrusted> {
  const plan = await prepare(tools, overview, wish);
  const able = await learnAbilities(tools, plan, false);
  if (able.isContract || !able.hasAuthorizations) throw new WalletProblem("unsupported", texts.cannotEntrust);
  const step = await authorize(tools, plan, ENTRUSTED_S);
  const name = step.name as Entrusted["name"];
  return { chainId: tools.wallet.chainId, adapter: plan.adapter, name, values: step.values.map(String) };
}

/** Sends what another wallet signed; returns the position's number. Throws `WalletProblem`. */
export async function sendEntrusted(tools: Tools, overview: Overview, signed: Entrusted): Promise<bigint> {
  const adapter = overview.contracts.adapter as Hex;
  const step: Step = { contract: "adapter", to: adapter, name: signed.name, values: signed.values.map(toValue) };
  const logs = await tools.carryOut(texts.stepDeposit, step);
  const tokenId = tools.chain.findEvent("adapter", "Deposited", logs)?.["tokenId"];
  if (typeof tokenId !== "bigint") throw new WalletProblem("unknown", texts.noNumber);
  return tokenId;
}

/** A number where it is one: a hex text is an address or bytes. */
function toValue(text: string): bigint | string {
  return text.startsWith("0x") ? text : BigInt(text);
}

const ENTRUSTED_VALUES = { openWithAuthorization: 13, depositWithAuthorization: 9 } as const;

/** Reads a signed deposit from a text; null where it is none, or of another deployment. */
export function readEntrusted(text: string, overview: Overview): Entrusted | null {
  try {
    const { chainId, adapter, name, values } = JSON.parse(text) as Partial<Entrusted>;
    if (chainId !== overview.chain_id || adapter?.toLowerCase() !== overview.contracts.adapter.toLowerCase()) return null;
    if (name === undefined || values?.length !== ENTRUSTED_VALUES[name]) return null;
    if (!values.every((value) => typeof value === "string" && /^(\d{1,78}|0x[0-9a-fA-F]{1,64})$/.test(value))) return null;
    return { chainId, adapter: adapter as Hex, name, values };
  } catch {
    return null;
  }
}

/** Returns whose USDC it takes (null: the position's owner), how much, and until when, for people to compare. */
export function describeEntrusted(signed: Entrusted) {
  const isNew = signed.name === "openWithAuthorization";
  const of = (at: number): string => signed.values[at] ?? "0";
  return {
    owner: isNew ? of(0) : null,
    tokenId: isNew ? null : of(0),
    assetsUsdc: BigInt(of(isNew ? 5 : 1)),
    validBeforeS: Number(of(isNew ? 8 : 4)),
  };
}
