/** A page that is loaded when it is first shown; where that fails, a way to try again. */
import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import { common } from "../text.ts";
import { Problem, Waiting } from "./parts.tsx";

export type Load = () => Promise<ComponentType<PageProps>>;
export interface PageProps {
  /** The parts of the path after the page's own: `/position/7` gives `["7"]`. */
  readonly rest: readonly string[];
}

type State =
  | { readonly kind: "loading" }
  | { readonly kind: "there"; readonly Page: ComponentType<PageProps> }
  | { readonly kind: "failed"; readonly error: Error };

export function Lazy({ load, rest }: { readonly load: Load; readonly rest: readonly string[] }) {
  const [state, setState] = useState<State>({ kind: "loading" });
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    let wanted = true;
    setState({ kind: "loading" });
    load().then(
      (Page) => wanted && setState({ kind: "there", Page }),
      (error: unknown) => wanted && setState({ kind: "failed", error: new Error(String(error)) }),
    );
    return () => {
      wanted = false;
    };
  }, [load, attempt]);
  switch (state.kind) {
    case "loading":
      return <Waiting />;
    case "there":
      return <state.Page rest={rest} />;
    case "failed":
      return <Problem title={common.pageNotLoaded} error={state.error} again={() => setAttempt(attempt + 1)} />;
  }
}
