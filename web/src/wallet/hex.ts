/** Texts as wallets take them. Pure. */

/** Returns a text's bytes as hex. */
export function toHex(text: string): `0x${string}` {
  const bytes = new TextEncoder().encode(text);
  return `0x${[...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
