/** Asking our own server: typed by its OpenAPI document, with a time limit, and errors in words. */

const TIMEOUT_MS = 20_000;

/** Why an answer is not there. `code` is the server's, or one of `offline`, `timeout`, `not_json`. */
export class RequestFailed extends Error {
  readonly code: string;
  readonly status: number;
  readonly facts: Readonly<Record<string, unknown>>;

  constructor(message: string, code: string, status: number, facts: Readonly<Record<string, unknown>> = {}) {
    super(message);
    this.name = "RequestFailed";
    this.code = code;
    this.status = status;
    this.facts = facts;
  }
}

export interface Http {
  /** Sends a request of this origin. Throws `RequestFailed`. */
  send(method: string, path: string, init?: SendOptions): Promise<Response>;
}

export interface SendOptions {
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
  /** Milliseconds; 0 for streams, which have no limit of their own. */
  readonly timeoutMs?: number;
}

/** The browser's own HTTP. */
export const browserHttp: Http = {
  async send(method, path, init = {}) {
    const limit = init.timeoutMs ?? TIMEOUT_MS;
    const signals = [init.signal, limit > 0 ? AbortSignal.timeout(limit) : undefined].filter((s) => s !== undefined);
    const headers: Record<string, string> = { accept: "application/json", ...init.headers };
    if (init.body !== undefined) headers["content-type"] = "application/json";
    let response: Response;
    try {
      response = await fetch(path, {
        method,
        headers,
        credentials: "same-origin",
        referrerPolicy: "no-referrer",
        ...(init.body === undefined ? {} : { body: JSON.stringify(init.body) }),
        ...(signals.length ? { signal: AbortSignal.any(signals) } : {}),
      });
    } catch (error) {
      if (init.signal?.aborted) throw error;
      if (error instanceof DOMException && error.name === "TimeoutError") {
        throw new RequestFailed("The server did not answer in time.", "timeout", 0);
      }
      throw new RequestFailed("The server cannot be reached.", "offline", 0);
    }
    if (!response.ok) throw readFailure(response.status, await response.text().catch(() => ""));
    return response;
  },
};

/** Returns what a refusal says; `text` is the body of the answer. */
export function readFailure(status: number, text: string): RequestFailed {
  const said = `The server answered ${status}.`;
  try {
    const error = (JSON.parse(text) as { error?: Record<string, unknown> }).error ?? {};
    const message = typeof error["message"] === "string" ? error["message"] : said;
    const code = typeof error["code"] === "string" ? error["code"] : "unknown";
    return new RequestFailed(message, code, status, error);
  } catch {
    return new RequestFailed(said, "not_json", status);
  }
}

/** Returns the name of the field that a refusal is about, "" where it names none. */
export function fieldOf(error: Error | null): string {
  const param = error instanceof RequestFailed ? error.facts["param"] : undefined;
  return typeof param === "string" ? param : "";
}

/** Returns an answer, or null where nobody is signed in. */
export async function orSignedOut<Body>(answer: Promise<Body>): Promise<Body | null> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof RequestFailed && error.status === 401) return null;
    throw error;
  }
}

type Json<Content> = Content extends { "application/json": infer Body } ? Body : never;
type Answer<Operation> = Operation extends { responses: infer Responses }
  ? Responses extends { 200: { content: infer Content } }
    ? Json<Content>
    : Responses extends { 201: { content: infer Content } }
      ? Json<Content>
      : Responses extends { 202: { content: infer Content } }
        ? Json<Content>
        : never
  : never;
type PathsOf<Paths, Method extends string> = {
  [Path in keyof Paths]: Paths[Path] extends Record<Method, infer Operation>
    ? Operation extends { responses: unknown }
      ? Path
      : never
    : never;
}[keyof Paths];

export interface Call extends SendOptions {
  readonly path?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, string | undefined>>;
}

/** Returns a path with its parameters filled in. */
export function fillPath(template: string, call: Call): string {
  const path = template.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(call.path?.[name] ?? ""));
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(call.query ?? {})) if (value !== undefined) query.set(name, value);
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

/** A server's operations, each answer typed as its document has it. */
export class Api<Paths> {
  readonly http: Http;

  constructor(http: Http) {
    this.http = http;
  }

  get<Path extends PathsOf<Paths, "get"> & string>(path: Path, call: Call = {}) {
    return this.#ask<Answer<Paths[Path] extends { get: infer Operation } ? Operation : never>>("GET", path, call);
  }

  post<Path extends PathsOf<Paths, "post"> & string>(path: Path, call: Call = {}) {
    return this.#ask<Answer<Paths[Path] extends { post: infer Operation } ? Operation : never>>("POST", path, call);
  }

  put<Path extends PathsOf<Paths, "put"> & string>(path: Path, call: Call = {}) {
    return this.#ask<Answer<Paths[Path] extends { put: infer Operation } ? Operation : never>>("PUT", path, call);
  }

  patch<Path extends PathsOf<Paths, "patch"> & string>(path: Path, call: Call = {}) {
    return this.#ask<Answer<Paths[Path] extends { patch: infer Operation } ? Operation : never>>("PATCH", path, call);
  }

  delete<Path extends PathsOf<Paths, "delete"> & string>(path: Path, call: Call = {}) {
    return this.#ask<Answer<Paths[Path] extends { delete: infer Operation } ? Operation : never>>("DELETE", path, call);
  }

  async #ask<Body>(method: string, template: string, call: Call): Promise<Body> {
    const response = await this.http.send(method, fillPath(template, call), call);
    if (response.status === 204) return undefined as Body;
    return (await response.json()) as Body;
  }
}
