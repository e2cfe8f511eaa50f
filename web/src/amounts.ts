/** Amounts as exact integers: USDC in 1e-6, prices in 1e-6 USDC per million tokens. Pure. */

export const USDC_ONE = 1_000_000n;
const DAY_S = 86_400;

/** Returns a whole JSON number as an exact integer. Throws where it cannot be exact. */
export function exact(value: number): bigint {
  if (!Number.isSafeInteger(value)) throw new RangeError(`not an exact integer: ${value}`);
  return BigInt(value);
}

/** Returns `value / 10 ** decimals` in plain digits, with at least `least` decimals, none cut off. */
export function formatUnits(value: bigint, decimals: number, least = 0): string {
  const sign = value < 0n ? "−" : "";
  const digits = (value < 0n ? -value : value).toString().padStart(decimals + 1, "0");
  const whole = digits.slice(0, digits.length - decimals);
  const fraction = digits.slice(digits.length - decimals).replace(/0+$/, "").padEnd(least, "0");
  const grouped = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return fraction ? `${sign}${grouped}.${fraction}` : `${sign}${grouped}`;
}

/** Returns USDC to its last digit: `1,234.50`, `0.000002`. */
export function formatUsdc(usdc: bigint): string {
  return formatUnits(usdc, 6, 2);
}

/** Returns a price a million tokens, in dollars: `0.20`, never `2e-7`. */
export function formatPrice(usdcPerMtok: bigint): string {
  return formatUnits(usdcPerMtok, 6, 2);
}

/** Returns parts of a million as percent with two decimals, rounded down: `4.37 %`. */
export function formatPpm(ppm: bigint): string {
  const hundredths = ppm < 0n ? -(-ppm / 100n) : ppm / 100n;
  return `${formatUnits(hundredths, 2, 2)} %`;
}

/** Returns a count with thousands marked. */
export function formatCount(count: bigint | number): string {
  return formatUnits(BigInt(count), 0);
}

export type Parsed = { readonly kind: "amount"; readonly usdc: bigint } | { readonly kind: "wrong"; readonly why: string };

/** Reads what a person typed as USDC. Commas between thousands are taken, a lone comma is not guessed at. */
export function parseUsdc(text: string): Parsed {
  const plain = text.trim().replace(/[\s_]/g, "");
  const joined = /^\d{1,3}(,\d{3})+(\.\d*)?$/.test(plain) ? plain.replaceAll(",", "") : plain;
  if (joined === "") return { kind: "wrong", why: "Enter an amount." };
  const match = /^(\d{1,15})(?:\.(\d*))?$/.exec(joined);
  if (!match) return { kind: "wrong", why: "Write the amount with digits and a point, such as 250.50." };
  const fraction = match[2] ?? "";
  if (fraction.length > 6) return { kind: "wrong", why: "USDC has six decimals at most." };
  return { kind: "amount", usdc: BigInt(match[1] ?? "0") * USDC_ONE + BigInt(fraction.padEnd(6, "0")) };
}

/** Returns what a deposit yields in `days` at a yearly rate, rounded down. */
export function yieldOf(depositUsdc: bigint, yearPpm: bigint, days = 365): bigint {
  return (depositUsdc * yearPpm * BigInt(days)) / (365n * 1_000_000n);
}

/** Returns the deposit whose yearly yield is at least `yieldUsdc`; null where none is. Rounded up. */
export function depositFor(yieldUsdc: bigint, yearPpm: bigint): bigint | null {
  if (yearPpm <= 0n) return null;
  return (yieldUsdc * 1_000_000n + yearPpm - 1n) / yearPpm;
}

export interface ModelPrice {
  readonly inputPerMtok: bigint;
  readonly outputPerMtok: bigint;
  readonly perRequest: bigint;
}

/** What one exchange of this many tokens costs, in 1e-12 USDC, so that tiny prices are not lost. */
export function costOf(price: ModelPrice, inputTokens: bigint, outputTokens: bigint): bigint {
  return price.inputPerMtok * inputTokens + price.outputPerMtok * outputTokens + price.perRequest * 1_000_000n;
}

/** Returns how many such exchanges an amount buys, rounded down; null where they cost nothing. */
export function exchangesFor(usdc: bigint, price: ModelPrice, inputTokens: bigint, outputTokens: bigint): bigint | null {
  const cost = costOf(price, inputTokens, outputTokens);
  return cost === 0n ? null : (usdc * 1_000_000n) / cost;
}

/** Returns what so many exchanges cost, rounded up to 1e-6 USDC. */
export function usdcFor(exchanges: bigint, price: ModelPrice, inputTokens: bigint, outputTokens: bigint): bigint {
  const cost = costOf(price, inputTokens, outputTokens) * exchanges;
  return (cost + 999_999n) / 1_000_000n;
}

/** Returns a time span in the largest unit that fits: `12 s`, `5 min`, `3 h`, `30 days`. */
export function formatSpan(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3_600) return `${Math.round(whole / 60)} min`;
  if (whole < 2 * DAY_S) return `${Math.round(whole / 3_600)} h`;
  return `${Math.round(whole / DAY_S)} days`;
}

/** Returns a moment as the visitor's own clock shows it. */
export function formatTime(atS: number): string {
  return new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" }).format(atS * 1_000);
}

/** Returns an address or hash with its middle left out. */
export function shorten(hex: string): string {
  return hex.length <= 14 ? hex : `${hex.slice(0, 6)}…${hex.slice(-4)}`;
}
