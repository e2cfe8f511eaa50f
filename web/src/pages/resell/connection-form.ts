/** The form of a connection, and what it says to the server. Pure. */
import { resellTexts as texts } from "../../text.ts";
import { parseDecimal } from "../../app/money.tsx";
import { orNull } from "../../app/words.ts";
import type { Plan } from "./economics.ts";

export interface Form {
  readonly name: string;
  readonly baseUrl: string;
  readonly way: string;
  /** The header's or the parameter's name. */
  readonly wayName: string;
  readonly apiKey: string;
  readonly quota: string;
  readonly unit: string;
  readonly reserved: string;
  readonly buffer: string;
  readonly resetDay: string;
  readonly baseCost: string;
  readonly markup: string;
  readonly subscription: string;
  readonly sourcePrice: string;
  /** How many calls its owner thinks to sell; for the table only. */
  readonly guess: string;
}

/** The reference's example: 10,000 calls, 3,000 kept, 0.05 a call at three times that, 5,000 sold. */
export const EMPTY: Form = {
  name: "",
  baseUrl: "",
  way: "bearer",
  wayName: "",
  apiKey: "",
  quota: "10000",
  unit: "calls",
  reserved: "3000",
  buffer: "2",
  resetDay: "1",
  baseCost: "0.05",
  markup: "3",
  subscription: "500",
  sourcePrice: "",
  guess: "5000",
};

type Read =
  | { readonly kind: "body"; readonly body: Record<string, unknown> }
  | { readonly kind: "wrong"; readonly name: keyof Form; readonly why: string };

/** Returns a whole number with its marks dropped; null where it is none. */
export function readCount(text: string): bigint | null {
  const plain = text.trim().replace(/[\s,_]/g, "");
  return /^\d{1,15}$/.test(plain) ? BigInt(plain) : null;
}

/** Returns a markup in 1e-6: `3`, `3x`, `2.5`; null where it is none above zero. */
export function readMarkup(text: string): bigint | null {
  const value = parseDecimal(text.trim().replace(/x$/i, ""));
  return value !== null && value > 0n ? value : null;
}

const COUNTS: readonly (keyof Form)[] = ["quota", "reserved", "buffer", "resetDay"];
const AMOUNTS: readonly (keyof Form)[] = ["baseCost", "subscription", "sourcePrice"];

/** Returns the body of a connection but for its operations, or which field is wrong. */
export function toBody(form: Form): Read {
  if (form.name.trim() === "") return { kind: "wrong", name: "name", why: texts.needName };
  if (form.apiKey === "") return { kind: "wrong", name: "apiKey", why: texts.needKey };
  for (const name of COUNTS) if (readCount(form[name]) === null) return { kind: "wrong", name, why: texts.needCount };
  for (const name of AMOUNTS) {
    if (form[name].trim() !== "" && parseDecimal(form[name]) === null) return { kind: "wrong", name, why: texts.needAmount };
  }
  if (readMarkup(form.markup) === null) return { kind: "wrong", name: "markup", why: texts.needMarkup };
  const count = (text: string): number => Number(readCount(text));
  const body = {
    name: form.name.trim(),
    api_key: form.apiKey,
    base_url: orNull(form.baseUrl),
    credential: form.way === "header" || form.way === "query" ? `${form.way}: ${form.wayName.trim()}` : form.way,
    monthly_quota: count(form.quota),
    unit: form.unit,
    reserved: count(form.reserved),
    buffer_pct: count(form.buffer),
    reset_day: count(form.resetDay),
    base_cost_usd: orNull(form.baseCost),
    markup: form.markup.trim(),
    subscription_usd: orNull(form.subscription),
    source_price_usd: orNull(form.sourcePrice),
  };
  // What is left out is the preset's, or has a default: null would take it away.
  return { kind: "body", body: Object.fromEntries(Object.entries(body).filter(([, value]) => value !== null)) };
}

/** Returns what the form plans; null while a figure cannot be read. */
export function toPlan(form: Form, markup = form.markup): Plan | null {
  const [quota, reserved, bufferPct, guess] = [form.quota, form.reserved, form.buffer, form.guess].map(readCount);
  const baseCostUsdc = parseDecimal(form.baseCost);
  const markupPpm = readMarkup(markup);
  const subscriptionUsdc = form.subscription.trim() === "" ? 0n : parseDecimal(form.subscription);
  const isRead = <Value>(value: Value | null | undefined): value is Value => value !== null && value !== undefined;
  if (!isRead(quota) || !isRead(reserved) || !isRead(bufferPct) || !isRead(guess)) return null;
  if (!isRead(baseCostUsdc) || !isRead(markupPpm) || !isRead(subscriptionUsdc)) return null;
  return { quota, reserved, bufferPct, guess, baseCostUsdc, markupPpm, subscriptionUsdc };
}
