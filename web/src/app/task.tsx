/** One thing at a time that a page does for its visitor: it is idle, busy, done or failed. */
import { useRef, useState } from "preact/hooks";
import { Notice, Problem } from "./parts.tsx";

export type TaskState =
  | { readonly kind: "idle" }
  | { readonly kind: "busy" }
  | { readonly kind: "done"; readonly what: string }
  | { readonly kind: "failed"; readonly error: Error };

export interface Task {
  readonly state: TaskState;
  readonly isBusy: boolean;
  readonly error: Error | null;
  /** Carries out `work`; the text that it returns is shown when it is done. */
  readonly run: (work: () => Promise<string | void>) => Promise<void>;
  readonly reset: () => void;
}

/** Returns an error of whatever was thrown. */
export function toError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

export function useTask(): Task {
  const [state, setState] = useState<TaskState>({ kind: "idle" });
  const isRunning = useRef(false);
  const run = async (work: () => Promise<string | void>): Promise<void> => {
    if (isRunning.current) return;
    isRunning.current = true;
    setState({ kind: "busy" });
    try {
      const what = await work();
      setState(what ? { kind: "done", what } : { kind: "idle" });
    } catch (thrown) {
      setState({ kind: "failed", error: toError(thrown) });
    } finally {
      isRunning.current = false;
    }
  };
  return {
    state,
    isBusy: state.kind === "busy",
    error: state.kind === "failed" ? state.error : null,
    run,
    reset: () => setState({ kind: "idle" }),
  };
}

/** Says how a task ended. */
export function TaskSaid({ task }: { readonly task: Task }) {
  return (
    <div aria-live="polite">
      {task.state.kind === "done" && <Notice kind="good">{task.state.what}</Notice>}
      {task.error && <Problem error={task.error} />}
    </div>
  );
}
