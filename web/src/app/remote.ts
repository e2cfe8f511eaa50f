/** What a view knows of the server: loading, ready, stale (old data beside why), or failed. */
import { useEffect, useReducer, useRef } from "preact/hooks";

export type Remote<Data> =
  | { readonly kind: "loading" }
  | { readonly kind: "ready"; readonly data: Data; readonly atMs: number }
  | { readonly kind: "stale"; readonly data: Data; readonly atMs: number; readonly error: Error }
  | { readonly kind: "failed"; readonly error: Error };

export type RemoteEvent<Data> =
  | { readonly kind: "arrived"; readonly data: Data; readonly atMs: number }
  | { readonly kind: "failed"; readonly error: Error }
  | { readonly kind: "restart" };

/** Returns what is known after an event: what was shown before stays, marked as stale. */
export function nextRemote<Data>(state: Remote<Data>, event: RemoteEvent<Data>): Remote<Data> {
  switch (event.kind) {
    case "restart":
      return { kind: "loading" };
    case "arrived":
      return { kind: "ready", data: event.data, atMs: event.atMs };
    case "failed":
      if (state.kind === "ready" || state.kind === "stale") {
        return { kind: "stale", data: state.data, atMs: state.atMs, error: event.error };
      }
      return { kind: "failed", error: event.error };
  }
}

/** Returns what there is to show, if anything. */
export function dataOf<Data>(state: Remote<Data>): Data | undefined {
  return state.kind === "ready" || state.kind === "stale" ? state.data : undefined;
}

export interface Watched<Data> {
  readonly state: Remote<Data>;
  /** Asks again now; what is shown stays until the answer is there. */
  readonly refresh: () => void;
}

/**
 * Asks when the view appears or `key` changes, then every `everyMs` while the page is visible: a number,
 * or what the newest answer calls for. `key` null: there is nothing to ask.
 */
export function useRemote<Data>(
  key: string | null,
  ask: (signal: AbortSignal) => Promise<Data>,
  everyMs: number | ((data: Data) => number) = 0,
): Watched<Data> {
  const [state, dispatch] = useReducer(nextRemote<Data>, { kind: "loading" } as Remote<Data>);
  const asking = useRef(ask);
  asking.current = ask;
  const every = useRef(everyMs);
  every.current = everyMs;
  const pause = useRef(0);
  const again = useRef(() => {});
  useEffect(() => {
    if (key === null) return undefined;
    dispatch({ kind: "restart" });
    // Until the first answer; one that fails is asked for again all the same.
    pause.current = typeof every.current === "number" ? every.current : 0;
    let timer = 0;
    let abort = new AbortController();
    const look = async (): Promise<void> => {
      window.clearTimeout(timer);
      abort.abort();
      const mine = (abort = new AbortController());
      try {
        const data = await asking.current(mine.signal);
        pause.current = typeof every.current === "function" ? every.current(data) : every.current;
        if (!mine.signal.aborted) dispatch({ kind: "arrived", data, atMs: Date.now() });
      } catch (error) {
        if (mine.signal.aborted) return;
        dispatch({ kind: "failed", error: error instanceof Error ? error : new Error(String(error)) });
      }
      if (!mine.signal.aborted && pause.current > 0) timer = window.setTimeout(tick, pause.current);
    };
    const tick = (): void => {
      if (document.visibilityState === "hidden") timer = window.setTimeout(tick, pause.current);
      else void look();
    };
    again.current = () => void look();
    void look();
    return () => {
      window.clearTimeout(timer);
      abort.abort();
    };
  }, [key]);
  return { state, refresh: () => again.current() };
}
