/** What the sections of the KYB form share: their frame, and how their saving stands. */
import type { ComponentChildren } from "preact";
import { RequestFailed, fieldOf } from "../../api/http.ts";
import type { Schemas } from "../../api/market.ts";
import type { Saving } from "../../app/autosave.ts";
import { formatTime } from "../../amounts.ts";
import { Problem } from "../../app/parts.tsx";
import { intakeTexts as texts } from "../../text.ts";
import { nameOf } from "./requirements.ts";

export type KybView = Schemas["KybView"];

export interface Filing {
  readonly view: KybView;
  /** Sends a save after those before it; what is due is shown by its answer. */
  readonly save: (send: () => Promise<KybView>) => Promise<KybView>;
  /** Reads everything from the server again. */
  readonly reload: () => void;
}

interface FrameProps {
  readonly id: "entity" | "owners" | "source" | "documents";
  readonly number: number;
  readonly filing: Filing;
  readonly lead: string;
  readonly saving?: Saving;
  readonly savedAtS?: number | null;
  readonly saveNow?: () => void;
  readonly children: ComponentChildren;
}

/**
 * Returns what the visitor still has to fill in. What the application has said already stands in the
 * form, and is saved with the first change of its section.
 */
export function listDue(view: KybView): readonly string[] {
  return view.requirements.currently_due.filter((requirement) => {
    const [id, name] = requirement.split(".");
    if ((id !== "entity" && id !== "source") || name === undefined || view[id].version > 0) return true;
    const said = (view[id].content as Readonly<Record<string, unknown>>)[name];
    return Array.isArray(said) ? said.length === 0 : !said;
  });
}

/** Returns what is due of a section, and what is wrong in it. */
export function findOpen(view: KybView, id: string): { readonly due: readonly string[]; readonly wrong: readonly string[] } {
  const isIn = (requirement: string): boolean => requirement === id || requirement.startsWith(`${id}.`);
  return {
    due: listDue(view).filter(isIn),
    wrong: view.requirements.errors.filter((one) => isIn(one.requirement)).map((one) => one.reason),
  };
}

export function SectionFrame(props: FrameProps) {
  const { due, wrong } = findOpen(props.filing.view, props.id);
  const canChange = props.filing.view.can_change;
  return (
    <section class="card" id={props.id} aria-labelledby={`${props.id}-title`}>
      <div class="heading">
        <h2 id={`${props.id}-title`}>{texts.sections[props.id]}</h2>
        {wrong.length > 0 ? (
          <span class="tag bad">{texts.toRevise}</span>
        ) : due.length > 0 ? (
          <span class="tag warning">{texts.dueCount(due.length)}</span>
        ) : (
          <span class="tag good">{texts.complete}</span>
        )}
      </div>
      <p class="quiet">{props.lead}</p>
      {due.length > 0 && canChange && (
        <p class="quiet">{texts.stillDue(due.map(nameOf).join(", "))}</p>
      )}
      {wrong.map((reason) => (
        <div key={reason} class="notice problem">
          <strong>{texts.reviewer}</strong> {reason}
        </div>
      ))}
      <fieldset class="plain" disabled={!canChange}>
        <legend class="hidden">{texts.sections[props.id]}</legend>
        {props.children}
      </fieldset>
      {props.saving && canChange && (
        <div class="actions">
          <button type="button" disabled={props.saving.kind === "saving"} onClick={props.saveNow}>
            {texts.saveSection(props.number)}
          </button>
          <SavingSaid saving={props.saving} savedAtS={props.savedAtS ?? null} />
        </div>
      )}
      {props.saving?.kind === "failed" && canChange && <SaveFailed error={props.saving.error} filing={props.filing} again={props.saveNow} />}
    </section>
  );
}

function SavingSaid({ saving, savedAtS }: { readonly saving: Saving; readonly savedAtS: number | null }) {
  return (
    <span role="status" class="quiet">
      {sayOf(saving, savedAtS)}
    </span>
  );
}

function sayOf(saving: Saving, savedAtS: number | null): string {
  switch (saving.kind) {
    case "clean":
      return savedAtS === null ? texts.prefilled : texts.savedAt(formatTime(savedAtS));
    case "changed":
      return texts.changed;
    case "unready":
      return texts.unready(saving.why);
    case "saving":
      return texts.saving;
    case "saved":
      return texts.savedAt(formatTime(Math.floor(saving.atMs / 1_000)));
    case "failed":
      return texts.notSaved;
  }
}

function SaveFailed(props: { readonly error: Error; readonly filing: Filing; readonly again: (() => void) | undefined }) {
  const code = props.error instanceof RequestFailed ? props.error.code : "";
  const isOutdated = code === "section_changed" || code === "kyb_locked";
  return (
    <Problem title={texts.notSaved} error={props.error} again={isOutdated ? undefined : props.again}>
      {isOutdated && (
        <button type="button" class="small" onClick={props.filing.reload}>
          {texts.loadSaved}
        </button>
      )}
    </Problem>
  );
}

/** Returns the error of a field, where the server refused to save because of it. */
export function errorOf(saving: Saving, name: string): string | undefined {
  return saving.kind === "failed" && fieldOf(saving.error) === name ? saving.error.message : undefined;
}
