/** What requests add up to: by day, model and key. Pure. */

export interface UsageLine {
  readonly request_id: string;
  readonly reserved_at_s: number;
  readonly state: string;
  readonly key_id: string;
  readonly model: string;
  readonly cost_usdc: number | null;
  readonly prompt_tokens: number | null;
  readonly completion_tokens: number | null;
}

export interface Sum {
  readonly name: string;
  readonly requests: number;
  readonly costUsdc: bigint;
}

/** What the requests of one UTC day, model and key come to. */
export interface Cell {
  /** The day's first second. */
  readonly at: number;
  readonly model: string;
  readonly key_id: string;
  readonly requests: number;
  readonly costUsdc: bigint;
}

const DAY_S = 86_400;
/** What is added to it stays exact in a number. */
const EXACT = 2 ** 52;

/**
 * Adds requests up by day, model and key, exactly: a year's 100,000 come to a few thousand cells, so that a
 * plot and its filters need not look at each request again.
 */
export function gatherCells(lines: readonly UsageLine[]): readonly Cell[] {
  type Growing = { at: number; model: string; key_id: string; requests: number; low: number; high: bigint };
  const cells: Growing[] = [];
  const days = new Map<number, Map<string, Map<string, Growing>>>();
  for (const { reserved_at_s, model, key_id, cost_usdc } of lines) {
    const at = Math.floor(reserved_at_s / DAY_S) * DAY_S;
    const keys = within(within(days, at), model);
    let cell = keys.get(key_id);
    if (!cell) keys.set(key_id, (cell = { at, model, key_id, requests: 0, low: 0, high: 0n }));
    if (cell.requests === 0) cells.push(cell);
    cell.requests += 1;
    cell.low += cost_usdc ?? 0;
    if (cell.low > EXACT / 2) {
      // Before the next one could be lost: a single cost is far below half of what is exact.
      cell.high += BigInt(cell.low);
      cell.low = 0;
    }
  }
  return cells.map(({ low, high, ...cell }) => ({ ...cell, costUsdc: high + BigInt(low) }));
}

function within<Key, Inner, Value>(maps: Map<Key, Map<Inner, Value>>, key: Key): Map<Inner, Value> {
  let found = maps.get(key);
  if (!found) maps.set(key, (found = new Map()));
  return found;
}

/** Adds cells up by a name of each; the dearest first. */
export function sumBy(cells: readonly Cell[], nameOf: (cell: Cell) => string): readonly Sum[] {
  const sums = new Map<string, { requests: number; costUsdc: bigint }>();
  for (const cell of cells) {
    const name = nameOf(cell);
    const sum = sums.get(name) ?? { requests: 0, costUsdc: 0n };
    sum.requests += cell.requests;
    sum.costUsdc += cell.costUsdc;
    sums.set(name, sum);
  }
  return [...sums]
    .map(([name, sum]) => ({ name, ...sum }))
    .sort((a, b) => (a.costUsdc === b.costUsdc ? (a.name < b.name ? -1 : 1) : a.costUsdc < b.costUsdc ? 1 : -1));
}

/** Returns the cost of each UTC day that has requests, oldest first; `at` is the day's first second. */
export function sumDays(cells: readonly Cell[]): readonly { readonly at: number; readonly costUsdc: bigint }[] {
  const days = new Map<number, bigint>();
  for (const { at, costUsdc } of cells) days.set(at, (days.get(at) ?? 0n) + costUsdc);
  return [...days].map(([at, costUsdc]) => ({ at, costUsdc })).sort((a, b) => a.at - b.at);
}

/** Returns which rows of a long list are drawn: those in sight, and some around them. */
export function rowsInSight(scrollTop: number, height: number, rowHeight: number, count: number): [number, number] {
  const first = Math.max(0, Math.floor(scrollTop / rowHeight) - 10);
  return [first, Math.min(count, Math.ceil((scrollTop + height) / rowHeight) + 10)];
}
