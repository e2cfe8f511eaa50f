/** QR codes (ISO/IEC 18004) of short texts: bytes, error correction M, versions 1 to 15. Pure. */

const VERSION_MAX = 15;
/** Of each version at level M: error-correcting bytes of a block, and how many blocks there are. */
const CORRECTING = [10, 16, 26, 18, 24, 16, 18, 22, 22, 26, 30, 22, 22, 24, 24];
const BLOCKS = [1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10];
const MASKS: readonly ((x: number, y: number) => boolean)[] = [
  (x, y) => (x + y) % 2 === 0,
  (_, y) => y % 2 === 0,
  (x) => x % 3 === 0,
  (x, y) => (x + y) % 3 === 0,
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 2)) % 2 === 0,
  (x, y) => ((x * y) % 2) + ((x * y) % 3) === 0,
  (x, y) => (((x * y) % 2) + ((x * y) % 3)) % 2 === 0,
  (x, y) => (((x + y) % 2) + ((x * y) % 3)) % 2 === 0,
];

type Squares = readonly (readonly boolean[])[];

/** Returns the code's squares by row, true where one is dark; null for a text of more than some 400 bytes. */
export function encodeQr(text: string, mask?: number): Squares | null {
  const data = new TextEncoder().encode(text);
  for (let version = 1; version <= VERSION_MAX; version++) {
    const bytes = packBytes(data, version);
    if (bytes === null) continue;
    const all = interleave(bytes, version);
    const masks = mask === undefined ? [...MASKS.keys()] : [mask];
    const drawn = masks.map((one) => draw(all, version, one));
    return drawn.reduce((best, one) => (blemishes(one) < blemishes(best) ? one : best));
  }
  return null;
}

function correctingOf(version: number): number {
  return CORRECTING[version - 1] ?? 0;
}

function blocksOf(version: number): number {
  return BLOCKS[version - 1] ?? 1;
}

/** How many bytes a version holds, correction included. */
function capacityOf(version: number): number {
  let squares = (16 * version + 128) * version + 64;
  if (version >= 2) {
    const marks = Math.floor(version / 7) + 2;
    squares -= (25 * marks - 10) * marks - 55;
    if (version >= 7) squares -= 36;
  }
  return Math.floor(squares / 8);
}

/** Returns the text's bytes with their head and filling; null where the version is too small. */
function packBytes(data: Uint8Array, version: number): number[] | null {
  const room = capacityOf(version) - correctingOf(version) * blocksOf(version);
  const bits: number[] = [];
  const push = (value: number, count: number): void => {
    for (let at = count - 1; at >= 0; at--) bits.push((value >>> at) & 1);
  };
  push(0b0100, 4);
  push(data.length, version < 10 ? 8 : 16);
  for (const byte of data) push(byte, 8);
  if (bits.length > room * 8) return null;
  push(0, Math.min(4, room * 8 - bits.length));
  while (bits.length % 8 !== 0) bits.push(0);
  const bytes = Array.from({ length: bits.length / 8 }, (_, at) => Number.parseInt(bits.slice(at * 8, at * 8 + 8).join(""), 2));
  for (let at = 0; bytes.length < room; at++) bytes.push(at % 2 === 0 ? 0xec : 0x11);
  return bytes;
}

/** Multiplies in the field of 256 elements that the code's correction is built on. */
function multiply(a: number, b: number): number {
  let product = 0;
  for (let at = 7; at >= 0; at--) {
    product = (product << 1) ^ ((product >>> 7) * 0x11d);
    product ^= ((b >>> at) & 1) * a;
  }
  return product;
}

/** Returns the Reed-Solomon bytes of a block. */
function correct(block: readonly number[], count: number): number[] {
  const divisor = Array.from({ length: count }, (_, at): number => (at === count - 1 ? 1 : 0));
  let root = 1;
  for (let turn = 0; turn < count; turn++) {
    for (let at = 0; at < count; at++) divisor[at] = multiply(divisor[at] ?? 0, root) ^ (divisor[at + 1] ?? 0);
    root = multiply(root, 2);
  }
  const rest = Array.from({ length: count }, () => 0);
  for (const byte of block) {
    const factor = byte ^ (rest.shift() ?? 0);
    rest.push(0);
    for (let at = 0; at < count; at++) rest[at] = (rest[at] ?? 0) ^ multiply(divisor[at] ?? 0, factor);
  }
  return rest;
}

/** Cuts bytes into blocks, corrects each, and returns them in the order in which they are drawn. */
function interleave(bytes: readonly number[], version: number): number[] {
  const count = blocksOf(version);
  const short = Math.floor(bytes.length / count);
  const longFrom = count - (bytes.length % count);
  let from = 0;
  const blocks = Array.from({ length: count }, (_, at) => bytes.slice(from, (from += short + (at >= longFrom ? 1 : 0))));
  const corrected = blocks.map((block) => correct(block, correctingOf(version)));
  const weave = (rows: readonly (readonly number[])[], length: number): number[] =>
    Array.from({ length }, (_, at) => rows.flatMap((row) => (at < row.length ? [row[at] ?? 0] : []))).flat();
  return [...weave(blocks, short + 1), ...weave(corrected, correctingOf(version))];
}

function draw(bytes: readonly number[], version: number, mask: number): boolean[][] {
  const size = version * 4 + 17;
  const dark = Array.from({ length: size }, () => Array<boolean>(size).fill(false));
  const isFixed = Array.from({ length: size }, () => Array<boolean>(size).fill(false));
  const set = (x: number, y: number, isDark: boolean): void => {
    const [row, fixed] = [dark[y], isFixed[y]];
    if (!row || !fixed || x < 0 || x >= size) return;
    row[x] = isDark;
    fixed[x] = true;
  };
  for (let at = 0; at < size; at++) {
    set(6, at, at % 2 === 0);
    set(at, 6, at % 2 === 0);
  }
  for (const [x, y] of [[3, 3], [size - 4, 3], [3, size - 4]] as const) {
    for (let dy = -4; dy <= 4; dy++) {
      for (let dx = -4; dx <= 4; dx++) {
        const far = Math.max(Math.abs(dx), Math.abs(dy));
        set(x + dx, y + dy, far !== 2 && far !== 4);
      }
    }
  }
  drawMarks(version, size, set);
  drawWords(version, mask, size, set);
  const put = (x: number, y: number, isDark: boolean): void => {
    const row = dark[y];
    if (row) row[x] = isDark !== (MASKS[mask]?.(x, y) ?? false);
  };
  let bit = 0;
  for (let right = size - 1; right >= 1; right -= 2) {
    if (right === 6) right = 5;
    for (let step = 0; step < size; step++) {
      const y = ((right + 1) & 2) === 0 ? size - 1 - step : step;
      for (const x of [right, right - 1]) {
        if (isFixed[y]?.[x]) continue;
        put(x, y, (((bytes[bit >>> 3] ?? 0) >>> (7 - (bit & 7))) & 1) === 1);
        bit++;
      }
    }
  }
  return dark;
}

type Set = (x: number, y: number, isDark: boolean) => void;

function drawMarks(version: number, size: number, set: Set): void {
  if (version === 1) return;
  const count = Math.floor(version / 7) + 2;
  const step = Math.ceil((version * 4 + 4) / (count * 2 - 2)) * 2;
  const places = [6, ...Array.from({ length: count - 1 }, (_, at) => size - 7 - step * (count - 2 - at))];
  const last = count - 1;
  for (const [i, x] of places.entries()) {
    for (const [j, y] of places.entries()) {
      if ((i === 0 && j === 0) || (i === 0 && j === last) || (i === last && j === 0)) continue;
      for (let dy = -2; dy <= 2; dy++) {
        for (let dx = -2; dx <= 2; dx++) set(x + dx, y + dy, Math.max(Math.abs(dx), Math.abs(dy)) !== 1);
      }
    }
  }
}

/** Draws what a reader must know first: level and mask, twice, and the version of larger codes. */
function drawWords(version: number, mask: number, size: number, set: Set): void {
  let rest = mask;
  for (let turn = 0; turn < 10; turn++) rest = (rest << 1) ^ ((rest >>> 9) * 0x537);
  const word = ((mask << 10) | rest) ^ 0x5412;
  const bit = (at: number): boolean => ((word >>> at) & 1) === 1;
  for (let at = 0; at <= 5; at++) set(8, at, bit(at));
  set(8, 7, bit(6));
  set(8, 8, bit(7));
  set(7, 8, bit(8));
  for (let at = 9; at < 15; at++) set(14 - at, 8, bit(at));
  for (let at = 0; at < 8; at++) set(size - 1 - at, 8, bit(at));
  for (let at = 8; at < 15; at++) set(8, size - 15 + at, bit(at));
  set(8, size - 8, true);
  if (version < 7) return;
  let left = version;
  for (let turn = 0; turn < 12; turn++) left = (left << 1) ^ ((left >>> 11) * 0x1f25);
  const versions = (version << 12) | left;
  for (let at = 0; at < 18; at++) {
    const isDark = ((versions >>> at) & 1) === 1;
    const [a, b] = [size - 11 + (at % 3), Math.floor(at / 3)];
    set(a, b, isDark);
    set(b, a, isDark);
  }
}

/** How hard a code is to read: long runs and blocks of one colour, and too much of one. */
function blemishes(squares: Squares): number {
  let sum = 0;
  let darks = 0;
  const at = (x: number, y: number): boolean | undefined => squares[y]?.[x];
  for (let y = 0; y < squares.length; y++) {
    let [across, down] = [0, 0];
    for (let x = 0; x < squares.length; x++) {
      if (at(x, y)) darks++;
      across = x > 0 && at(x, y) === at(x - 1, y) ? across + 1 : 1;
      down = x > 0 && at(y, x) === at(y, x - 1) ? down + 1 : 1;
      for (const run of [across, down]) sum += run === 5 ? 3 : run > 5 ? 1 : 0;
      const isBlock = at(x, y) === at(x + 1, y) && at(x, y) === at(x, y + 1) && at(x, y) === at(x + 1, y + 1);
      if (isBlock) sum += 3;
    }
  }
  const share = darks / squares.length ** 2;
  return sum + Math.floor(Math.abs(share - 0.5) * 20) * 10;
}

/** Returns an SVG path that fills the dark squares, each of 1 by 1, from (0, 0). */
export function toPath(squares: Squares): string {
  return squares.flatMap((row, y) => row.flatMap((isDark, x) => (isDark ? [`M${x} ${y}h1v1h-1z`] : []))).join("");
}
