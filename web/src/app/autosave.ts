/** A part of a form that saves itself: a moment after the last change, one save at a time. */
import { useEffect, useRef, useState } from "preact/hooks";
import { toError } from "./task.tsx";

export type Saving =
  | { readonly kind: "clean" }
  | { readonly kind: "changed" }
  | { readonly kind: "unready"; readonly why: string }
  | { readonly kind: "saving" }
  | { readonly kind: "saved"; readonly atMs: number }
  | { readonly kind: "failed"; readonly error: Error };

export interface Autosaved<Value> {
  readonly value: Value;
  readonly saving: Saving;
  readonly change: (value: Value) => void;
  /** Changes what is shown by what the server has made of it; saves nothing. */
  readonly adopt: (adjust: (value: Value) => Value) => void;
  readonly saveNow: () => void;
}

export interface AutosaveRules<Value> {
  readonly save: (value: Value) => Promise<void>;
  /** Why a value cannot be saved yet; null: it can. */
  readonly findGap: (value: Value) => string | null;
  readonly delayMs?: number;
}

/** Tells whether leaving the page now would lose something. */
export function isUnsaved(saving: Saving): boolean {
  return saving.kind !== "clean" && saving.kind !== "saved";
}

export function useAutosave<Value>(initial: Value, rules: AutosaveRules<Value>): Autosaved<Value> {
  const [value, setValue] = useState(initial);
  const [saving, setSaving] = useState<Saving>({ kind: "clean" });
  const latest = useRef({ value: initial, saving: { kind: "clean" } as Saving, version: 0, rules });
  latest.current.rules = rules;
  const timer = useRef(0);
  const become = (next: Saving): void => {
    latest.current.saving = next;
    setSaving(next);
  };
  const save = async (): Promise<void> => {
    window.clearTimeout(timer.current);
    const now = latest.current;
    if (now.saving.kind === "saving") return;
    const gap = now.rules.findGap(now.value);
    if (gap !== null) return become({ kind: "unready", why: gap });
    const version = now.version;
    become({ kind: "saving" });
    try {
      await now.rules.save(now.value);
      become({ kind: "saved", atMs: Date.now() });
      if (latest.current.version !== version) void save();
    } catch (thrown) {
      become({ kind: "failed", error: toError(thrown) });
    }
  };
  const change = (next: Value): void => {
    latest.current.value = next;
    latest.current.version++;
    setValue(next);
    if (latest.current.saving.kind === "saving") return;
    become({ kind: "changed" });
    window.clearTimeout(timer.current);
    timer.current = window.setTimeout(() => void save(), latest.current.rules.delayMs ?? 800);
  };
  const adopt = (adjust: (value: Value) => Value): void => {
    latest.current.value = adjust(latest.current.value);
    setValue(latest.current.value);
  };
  useEffect(() => {
    const warn = (event: BeforeUnloadEvent): void => {
      if (isUnsaved(latest.current.saving)) event.preventDefault();
    };
    window.addEventListener("beforeunload", warn);
    return () => {
      window.removeEventListener("beforeunload", warn);
      // Another page of the site is shown: what waits for its moment is saved now.
      if (latest.current.saving.kind === "changed") void save();
    };
  }, []);
  return { value, saving, change, adopt, saveNow: () => void save() };
}
