/** What was filled in and not sent yet: it survives a reload of the tab, and nothing else. Never secrets. */
import { useState } from "preact/hooks";

/** Returns a draft and how to change it; null forgets it. Fields that are not in `empty` are dropped. */
export function useDraft<Draft extends Record<string, string>>(
  name: string,
  empty: Draft,
): readonly [Draft, (next: Draft | null) => void] {
  const [draft, setDraft] = useState<Draft>(() => ({ ...empty, ...readDraft(name, Object.keys(empty)) }));
  const keep = (next: Draft | null): void => {
    setDraft(next ?? empty);
    try {
      if (next === null) window.sessionStorage.removeItem(name);
      else window.sessionStorage.setItem(name, JSON.stringify(next));
    } catch {
      // Without storage, the draft lives as long as the page.
    }
  };
  return [draft, keep];
}

function readDraft(name: string, known: readonly string[]): Record<string, string> {
  try {
    const kept = JSON.parse(window.sessionStorage.getItem(name) ?? "{}") as Record<string, unknown>;
    return Object.fromEntries(
      known.map((key) => [key, kept[key]]).filter((pair): pair is [string, string] => typeof pair[1] === "string"),
    );
  } catch {
    return {};
  }
}
