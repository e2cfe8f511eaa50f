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

const DAY_S = 86_400;

/** Adds requests up by a name of each; the dearest first. */
export function sumBy(lines: readonly UsageLine[], nameOf: (line: UsageLine) => string): readonly Sum[] {
  const sums = new Map<string, { requests: number; costUsdc: bigint }>();
  for (const line of lines) {
    const name = nameOf(line);
    const sum = sums.get(name) ?? { requests: 0, costUsdc: 0n };
    sum.requests += 1;
    sum.costUsdc += BigInt(line.cost_usdc ?? 0);
    sums.set(name, sum);
  }
  return [...sums]
    .map(([name, sum]) => ({ name, ...sum }))
    .sort((a, b) => (a.costUsdc === b.costUsdc ? (a.name < b.name ? -1 : 1) : a.costUsdc < b.costUsdc ? 1 : -1));
}

/** Returns the cost of each UTC day that has requests, oldest first; `at` is the day's first second. */
export function sumDays(lines: readonly UsageLine[]): readonly { readonly at: number; readonly costUsdc: bigint }[] {
  const days = new Map<number, bigint>();
  for (const line of lines) {
    const at = Math.floor(line.reserved_at_s / DAY_S) * DAY_S;
    days.set(at, (days.get(at) ?? 0n) + BigInt(line.cost_usdc ?? 0));
  }
  return [...days].map(([at, costUsdc]) => ({ at, costUsdc })).sort((a, b) => a.at - b.at);
}

/** Returns which rows of a long list are drawn: those in sight, and some around them. */
export function rowsInSight(scrollTop: number, height: number, rowHeight: number, count: number): [number, number] {
  const first = Math.max(0, Math.floor(scrollTop / rowHeight) - 10);
  return [first, Math.min(count, Math.ceil((scrollTop + height) / rowHeight) + 10)];
}
