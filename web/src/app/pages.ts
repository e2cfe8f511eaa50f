/** A list that the server gives by pages: the first when the view appears, the others when they are asked for. */
import { useRef, useState } from "preact/hooks";
import { type Watched, dataOf, useRemote } from "./remote.ts";
import { toError } from "./task.tsx";

export interface Part<First, Item> {
  /** The page as the server gave it, with what it says of the whole list. */
  readonly page: First;
  readonly items: readonly Item[];
  /** Where the next page begins; null: this is the last. */
  readonly next: string | null;
}

export interface Pages<First, Item> {
  readonly first: Watched<Part<First, Item> | null>;
  readonly items: readonly Item[];
  readonly hasMore: boolean;
  readonly isLoading: boolean;
  readonly problem: Error | null;
  readonly loadMore: () => void;
}

type Ask<First, Item> = (cursor: string | undefined, signal: AbortSignal) => Promise<Part<First, Item> | null>;

export function usePages<First, Item>(key: string, ask: Ask<First, Item>): Pages<First, Item> {
  const [later, setLater] = useState<readonly Part<First, Item>[]>([]);
  const [isLoading, setLoading] = useState(false);
  const [problem, setProblem] = useState<Error | null>(null);
  const newest = useRef(0);
  const first = useRemote(key, async (signal) => {
    const found = await ask(undefined, signal);
    newest.current++;
    setLater([]);
    return found;
  });
  const head = dataOf(first.state) ?? null;
  const next = later.at(-1)?.next ?? (later.length === 0 ? (head?.next ?? null) : null);
  const loadMore = async (): Promise<void> => {
    if (next === null || isLoading) return;
    const of = newest.current;
    setLoading(true);
    setProblem(null);
    try {
      const part = await ask(next, new AbortController().signal);
      if (part && of === newest.current) setLater((parts) => [...parts, part]);
    } catch (thrown) {
      setProblem(toError(thrown));
    }
    setLoading(false);
  };
  return {
    first,
    items: [...(head?.items ?? []), ...later.flatMap((part) => part.items)],
    hasMore: next !== null,
    isLoading,
    problem,
    loadMore: () => void loadMore(),
  };
}
