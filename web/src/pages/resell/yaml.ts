/**
 * The part of YAML that files of connections are written in: maps and lists by indentation, lists in
 * brackets, plain and quoted values, comments. Anything else is refused with its line. Pure.
 */

export class YamlRefused extends Error {
  /** The line, counted from 1. */
  readonly line: number;

  constructor(line: number) {
    super(`line ${line}`);
    this.line = line;
  }
}

export type Yaml = string | number | boolean | null | readonly Yaml[] | { readonly [name: string]: Yaml };

interface Line {
  readonly number: number;
  readonly indent: number;
  readonly text: string;
}

const DEPTH_MAX = 10;
const ENTRY = /^("[^"]*"|'[^']*'|[A-Za-z0-9_][\w .-]*):(?:\s+(.*))?$/;

/** Reads a document. Throws `YamlRefused`. */
export function readYaml(text: string): Yaml {
  const lines: Line[] = [];
  for (const [at, whole] of text.replace(/^\uFEFF/, "").split(/\r?\n/).entries()) {
    const kept = dropComment(whole).trimEnd();
    if (kept.trim() === "" || kept === "---") continue;
    const indent = kept.length - kept.trimStart().length;
    if (kept.slice(0, indent).includes("\t")) throw new YamlRefused(at + 1);
    lines.push({ number: at + 1, indent, text: kept.trimStart() });
  }
  if (lines.length === 0) return null;
  const [value, next] = readBlock(lines, 0, lines[0]?.indent ?? 0, 0);
  const left = lines[next];
  if (left) throw new YamlRefused(left.number);
  return value;
}

/** A comment begins at the line's beginning or after a space, and not within quotes. */
function dropComment(line: string): string {
  let quote = "";
  for (let at = 0; at < line.length; at++) {
    const sign = line[at] ?? "";
    if (quote) {
      if (quote === '"' && sign === "\\") at++;
      else if (quote === "'" && sign === quote && line[at + 1] === quote) at++;
      else if (sign === quote) quote = "";
    } else if ((sign === '"' || sign === "'") && /(^|[\s:[,-])$/.test(line.slice(0, at))) quote = sign;
    else if (sign === "#" && /(^|\s)$/.test(line.slice(0, at))) return line.slice(0, at);
  }
  return line;
}

/** Reads the lines from `at` that stand at `indent`; returns their value and where it ends. */
function readBlock(lines: Line[], at: number, indent: number, depth: number): [Yaml, number] {
  const first = lines[at];
  if (!first || depth > DEPTH_MAX) throw new YamlRefused(first?.number ?? 0);
  return isItem(first) ? readList(lines, at, indent, depth) : readMap(lines, at, indent, depth);
}

const isItem = (line: Line): boolean => line.text === "-" || line.text.startsWith("- ");

function readList(lines: Line[], start: number, indent: number, depth: number): [Yaml, number] {
  const found: Yaml[] = [];
  let at = start;
  for (let line = lines[at]; line && line.indent === indent && isItem(line); line = lines[at]) {
    const rest = line.text.slice(1).trimStart();
    if (rest === "") {
      const next = lines[at + 1];
      if (!next || next.indent <= indent) throw new YamlRefused(line.number);
      [found[found.length], at] = readBlock(lines, at + 1, next.indent, depth + 1) as [Yaml, number];
    } else if (ENTRY.test(rest)) {
      // A map that begins behind its dash goes on where its first name stands.
      const inner = indent + line.text.length - rest.length;
      lines[at] = { ...line, indent: inner, text: rest };
      [found[found.length], at] = readBlock(lines, at, inner, depth + 1) as [Yaml, number];
    } else {
      found.push(readValue(rest, line.number));
      at++;
    }
  }
  return [found, at];
}

function readMap(lines: Line[], start: number, indent: number, depth: number): [Yaml, number] {
  const found = new Map<string, Yaml>();
  let at = start;
  for (let line = lines[at]; line && line.indent === indent && !isItem(line); line = lines[at]) {
    const entry = ENTRY.exec(line.text);
    const name = String(entry ? readValue(entry[1] ?? "", line.number) : "");
    if (!entry || found.has(name)) throw new YamlRefused(line.number);
    const next = lines[at + 1];
    if (entry[2] !== undefined && entry[2] !== "") {
      found.set(name, readValue(entry[2], line.number));
      at++;
    } else if (next && (next.indent > indent || (next.indent === indent && isItem(next)))) {
      const [value, end] = readBlock(lines, at + 1, next.indent, depth + 1);
      found.set(name, value);
      at = end;
    } else {
      found.set(name, null);
      at++;
    }
  }
  return [Object.fromEntries(found), at];
}

function readValue(text: string, line: number): Yaml {
  if (text.startsWith("[")) {
    if (!text.endsWith("]")) throw new YamlRefused(line);
    const inner = text.slice(1, -1).trim();
    return inner === "" ? [] : splitItems(inner, line).map((one) => readValue(one, line));
  }
  if (text.startsWith('"')) {
    try {
      const read: unknown = JSON.parse(text);
      if (typeof read === "string") return read;
    } catch {
      // Refused below.
    }
    throw new YamlRefused(line);
  }
  if (text.startsWith("'")) {
    if (!/^'(?:[^']|'')*'$/.test(text)) throw new YamlRefused(line);
    return text.slice(1, -1).replaceAll("''", "'");
  }
  // Anchors, aliases, tags, maps in braces, texts of several lines, and what YAML reserves.
  if (/^[&*!{}|>%@`,\]]/.test(text) || /:\s/.test(text) || text.endsWith(":")) throw new YamlRefused(line);
  if (/^(null|~)$/i.test(text)) return null;
  if (/^(true|false)$/i.test(text)) return text.toLowerCase() === "true";
  // A number whose digits would be lost stays a text: amounts are taken as texts too.
  if (/^-?(0|[1-9]\d*)$/.test(text) && Number.isSafeInteger(Number(text))) return Number(text);
  return text;
}

function splitItems(text: string, line: number): string[] {
  const items = text.match(/\s*(?:"(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^,]+)/g) ?? [];
  if (/[[\]{}]/.test(text)) throw new YamlRefused(line);
  return items.map((one) => one.trim()).filter((one) => one !== "");
}
