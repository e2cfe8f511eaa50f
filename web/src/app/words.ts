/** What people type into suppliers' forms, as the server takes it. Pure. */

/** Returns the parts of a list that is separated by commas or lines. */
export function splitList(text: string): string[] {
  return text
    .split(/[,\n;]/)
    .map((part) => part.trim())
    .filter((part) => part !== "");
}

const SCALES: Readonly<Record<string, number>> = { k: 1e3, m: 1e6, b: 1e9, "": 1 };

/** Returns a count of tokens: `5,000,000`, `5000000`, `5M`; null where it is none from 1 to 10^15. */
export function parseTokens(text: string): number | null {
  const match = /^(\d+)([kmb]?)$/i.exec(text.trim().replace(/[\s,_]/g, ""));
  if (!match) return null;
  const count = Number(match[1]) * (SCALES[(match[2] ?? "").toLowerCase()] ?? 1);
  return Number.isSafeInteger(count) && count >= 1 && count <= 1e15 ? count : null;
}

/** Returns what an optional field says: null where it is empty. */
export function orNull(text: string): string | null {
  return text.trim() === "" ? null : text.trim();
}

const SIZES: readonly (readonly [number, string])[] = [
  [1_048_576, "MB"],
  [1_024, "kB"],
];

/** Returns a size in the unit that fits, with one decimal: `1.4 MB`. */
export function formatBytes(bytes: number): string {
  const [size, unit] = SIZES.find(([one]) => bytes >= one) ?? [1, "bytes"];
  return size === 1 ? `${bytes} ${unit}` : `${(bytes / size).toFixed(1)} ${unit}`;
}
