/**
 * The market's HTTP for who is signed in by mail and password: what changes something carries the
 * token that belongs to the session's cookie.
 */
import type { paths } from "./market.gen.d.ts";
import { Api, type Http, RequestFailed, type SendOptions, browserHttp, readFailure } from "./http.ts";
import { api } from "./market.ts";

const SAFE = new Set(["GET", "HEAD"]);

let token: string | null = null;

/** Returns the token of the browser's session, asked for once. Throws `RequestFailed`. */
async function findToken(): Promise<string> {
  token ??= (await api.get("/v1/supply/sessions")).csrf_token;
  return token;
}

/** Keeps the token that a sign-in gave; null: what was known belongs to a session that is gone. */
export function keepToken(given: string | null): void {
  token = given;
}

async function sendSigned(method: string, path: string, init: SendOptions = {}): Promise<Response> {
  const headers = { ...init.headers, "x-csrf-token": await findToken() };
  return browserHttp.send(method, path, { ...init, headers });
}

const signedHttp: Http = {
  async send(method, path, init = {}) {
    if (SAFE.has(method)) return browserHttp.send(method, path, init);
    try {
      return await sendSigned(method, path, init);
    } catch (error) {
      // Another tab has signed in anew: the token that was known is of the session before.
      if (!(error instanceof RequestFailed) || error.code !== "csrf_token_missing") throw error;
      token = null;
      return sendSigned(method, path, init);
    }
  },
};

export const supply = new Api<paths>(signedHttp);

export interface Upload {
  readonly path: string;
  readonly file: File;
  readonly mediaType: string;
  readonly onProgress: (sentPart: number) => void;
  readonly signal: AbortSignal;
}

/** Sends a file as the body of a POST; only XMLHttpRequest tells how far it is. Throws `RequestFailed`. */
export async function upload({ path, file, mediaType, onProgress, signal }: Upload): Promise<void> {
  const csrfToken = await findToken();
  await new Promise<void>((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.setRequestHeader("content-type", mediaType);
    request.setRequestHeader("x-csrf-token", csrfToken);
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onload = () =>
      request.status < 300 ? resolve() : reject(readFailure(request.status, request.responseText));
    request.onerror = () => reject(new RequestFailed("The server cannot be reached.", "offline", 0));
    request.onabort = () => reject(new RequestFailed("Stopped.", "stopped", 0));
    signal.addEventListener("abort", () => request.abort());
    request.send(file);
  });
}
