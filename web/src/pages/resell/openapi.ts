/** The operations that an OpenAPI document lists, for its owner to choose from. Pure; the document is untrusted. */

export interface Listed {
  /** `GET /v1/wallets/{address}` */
  readonly name: string;
  readonly method: string;
  readonly summary: string;
  /** Whether it is chosen unless the owner says otherwise: reading by GET. Nothing else is. */
  readonly isReading: boolean;
}

export type ReadDocument =
  | { readonly kind: "document"; readonly document: unknown; readonly operations: readonly Listed[]; readonly baseUrl: string }
  | { readonly kind: "wrong"; readonly why: "not_json" | "not_openapi" | "empty" };

const METHODS = ["get", "post", "put", "patch", "delete"];
const SHOWN_MAX = 500;

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === "object" && value !== null && !Array.isArray(value);
const textOf = (value: unknown): string => (typeof value === "string" ? value : "");

/** Reads a document of version 3.0 or 3.1, in JSON. */
export function readDocument(text: string): ReadDocument {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    return { kind: "wrong", why: "not_json" };
  }
  if (!isObject(document) || !/^3\.[01](\.|$)/.test(textOf(document["openapi"])) || !isObject(document["paths"])) {
    return { kind: "wrong", why: "not_openapi" };
  }
  const operations = Object.entries(document["paths"]).flatMap(([path, item]) => (isObject(item) ? listOf(path, item) : []));
  if (operations.length === 0) return { kind: "wrong", why: "empty" };
  return { kind: "document", document, operations: operations.slice(0, SHOWN_MAX), baseUrl: findServer(document["servers"]) };
}

function listOf(path: string, item: Record<string, unknown>): Listed[] {
  // A parameter that is only a part of a segment cannot be told from its neighbours, so it is not sold.
  if (!path.startsWith("/") || path.split("/").some((part) => /[{}]/.test(part) && !/^\{[^{}]+\}$/.test(part))) return [];
  return METHODS.filter((method) => isObject(item[method])).map((method) => {
    const operation = item[method] as Record<string, unknown>;
    const summary = textOf(operation["summary"]) || textOf(operation["operationId"]);
    const upper = method.toUpperCase();
    return { name: `${upper} ${path}`, method: upper, summary: summary.slice(0, 200), isReading: method === "get" };
  });
}

/** Returns the first server that is a whole https address; it only fills in a field that the owner sees. */
function findServer(servers: unknown): string {
  const first: unknown = Array.isArray(servers) ? servers[0] : undefined;
  const url = isObject(first) ? textOf(first["url"]) : "";
  return /^https:\/\/[^\s{}]+$/.test(url) ? url : "";
}

/** Returns the methods beside GET and POST that the chosen operations need. */
export function listMethods(chosen: Iterable<string>): string[] {
  const methods = new Set([...chosen].map((name) => name.split(" ")[0] ?? ""));
  return ["PUT", "PATCH", "DELETE"].filter((method) => methods.has(method));
}
