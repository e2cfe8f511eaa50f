/** What selling a subscription's unused quota comes to, as the server reckons it. Pure; amounts in 1e-6 USDC. */

export const FEE_BPS = 1_000n;
const BPS_ONE = 10_000n;
const MILLION = 1_000_000n;

export interface Plan {
  /** Units of a period. */
  readonly quota: bigint;
  readonly reserved: bigint;
  readonly bufferPct: bigint;
  readonly baseCostUsdc: bigint;
  /** In 1e-6: 3x is 3,000,000. */
  readonly markupPpm: bigint;
  readonly subscriptionUsdc: bigint;
  /** What the owner thinks is sold; no more than is for sale counts. */
  readonly guess: bigint;
}

export interface Outcome {
  readonly priceUsdc: bigint;
  readonly forSale: bigint;
  readonly sold: bigint;
  readonly revenueUsdc: bigint;
  readonly shareUsdc: bigint;
  readonly feeUsdc: bigint;
  readonly netUsdc: bigint;
}

const divideUp = (value: bigint, by: bigint): bigint => (value + by - 1n) / by;
const least = (one: bigint, other: bigint): bigint => (one < other ? one : other);

/** Returns what a period comes to: a price rounds up, the owner's part of each call rounds down. */
export function reckon(plan: Plan): Outcome {
  const priceUsdc = divideUp(plan.baseCostUsdc * plan.markupPpm, MILLION);
  const left = plan.quota - plan.reserved - divideUp(plan.quota * plan.bufferPct, 100n);
  const forSale = left > 0n ? left : 0n;
  const sold = least(plan.guess, forSale);
  const revenueUsdc = sold * priceUsdc;
  const shareUsdc = sold * ((priceUsdc * (BPS_ONE - FEE_BPS)) / BPS_ONE);
  return { priceUsdc, forSale, sold, revenueUsdc, shareUsdc, feeUsdc: revenueUsdc - shareUsdc, netUsdc: shareUsdc - plan.subscriptionUsdc };
}
