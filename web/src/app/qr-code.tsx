/** A QR code, dark on white whatever the colours of the page: cameras want it so. */
import { useMemo } from "preact/hooks";
import { encodeQr, toPath } from "./qr.ts";

/** Readers want so many empty squares around a code. */
const MARGIN = 4;

/** Draws a text; nothing where it is too long for a code. */
export function QrCode({ text, label }: { readonly text: string; readonly label: string }) {
  const squares = useMemo(() => encodeQr(text), [text]);
  if (squares === null) return null;
  const size = squares.length + 2 * MARGIN;
  return (
    <svg class="qr" role="img" aria-label={label} viewBox={`${-MARGIN} ${-MARGIN} ${size} ${size}`} shape-rendering="crispEdges">
      <rect x={-MARGIN} y={-MARGIN} width={size} height={size} fill="#fff" />
      <path d={toPath(squares)} fill="#000" />
    </svg>
  );
}
