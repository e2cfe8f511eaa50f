/** Transactions that are on their way, kept so that a reload goes on following them. Nothing secret. */
import type { Sent } from "./following.ts";

const KEPT = "current.pending";
const KEPT_MAX = 10;

export interface Pending {
  readonly title: string;
  readonly chainId: number;
  readonly sent: Sent;
}

/** Returns what is on its way; what cannot be read is forgotten. */
export function listPending(): readonly Pending[] {
  try {
    const kept: unknown = JSON.parse(window.localStorage.getItem(KEPT) ?? "[]");
    return Array.isArray(kept) ? kept.filter(isPending).slice(0, KEPT_MAX) : [];
  } catch {
    return [];
  }
}

function isPending(value: unknown): value is Pending {
  if (typeof value !== "object" || value === null) return false;
  const { title, chainId, sent } = value as Record<string, unknown>;
  const hash = (sent as Record<string, unknown> | null)?.["hash"];
  return typeof title === "string" && typeof chainId === "number" && typeof hash === "string";
}

export function keepPending(pending: Pending): void {
  store([pending, ...listPending().filter((one) => one.sent.hash !== pending.sent.hash)]);
}

export function dropPending(hash: string): void {
  store(listPending().filter((one) => one.sent.hash !== hash));
}

function store(all: readonly Pending[]): void {
  try {
    window.localStorage.setItem(KEPT, JSON.stringify(all.slice(0, KEPT_MAX)));
  } catch {
    // A browser without storage only forgets it on reload.
  }
}
