/** A file of connections, as owners of APIs write it, and what is asked of the market for each. Pure. */
import { YamlRefused, readYaml } from "./yaml.ts";

/** One entry, in the words of `POST /v1/seller/connections`. */
export interface Entry {
  readonly name: string;
  readonly body: Readonly<Record<string, unknown>>;
}

export type ReadFile =
  | { readonly kind: "entries"; readonly entries: readonly Entry[] }
  | { readonly kind: "wrong"; readonly why: "line"; readonly line: number }
  | { readonly kind: "wrong"; readonly why: "no_list" | "no_name" | "twice" | "too_many" };

const ENTRIES_MAX = 50;
const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);

/** Reads a file with `api_connections:`. */
export function readConnectionFile(text: string): ReadFile {
  let read: unknown;
  try {
    read = readYaml(text);
  } catch (error) {
    if (error instanceof YamlRefused) return { kind: "wrong", why: "line", line: error.line };
    throw error;
  }
  const list = isObject(read) ? read["api_connections"] : null;
  if (!Array.isArray(list) || list.length === 0) return { kind: "wrong", why: "no_list" };
  if (list.length > ENTRIES_MAX) return { kind: "wrong", why: "too_many" };
  const entries = list.flatMap((body: unknown) => (isObject(body) && typeof body["name"] === "string" ? [{ name: body["name"], body }] : []));
  if (entries.length < list.length) return { kind: "wrong", why: "no_name" };
  if (new Set(entries.map((entry) => entry.name)).size < entries.length) return { kind: "wrong", why: "twice" };
  return { kind: "entries", entries };
}

/** Returns what changes a connection that is there: neither its name nor who is paid. */
export function toChange({ body }: Entry): Record<string, unknown> {
  const { name: _, payout_address: __, ...rest } = body;
  return { ...rest, status: "enabled" };
}
