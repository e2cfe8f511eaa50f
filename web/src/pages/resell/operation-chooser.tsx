/** What may be called: chosen from an OpenAPI document, or listed by hand. Nothing else is sold. */
import { useState } from "preact/hooks";
import { AreaField, CheckField, TextField } from "../../app/fields.tsx";
import { Field, Notice } from "../../app/parts.tsx";
import { resellTexts as texts } from "../../text.ts";
import { type Listed, listMethods, readDocument } from "./openapi.ts";

export type Imported =
  | { readonly kind: "none" }
  | { readonly kind: "document"; readonly document: unknown; readonly operations: readonly Listed[]; readonly chosen: ReadonlySet<string> }
  | { readonly kind: "listed"; readonly text: string };

const FILE_MAX = 5_000_000;

/** Returns what is sent of the choice. */
export function toOperations(imported: Imported): Record<string, unknown> {
  if (imported.kind === "none") return {};
  const names = imported.kind === "document" ? [...imported.chosen] : imported.text.split("\n").map((line) => line.trim()).filter(Boolean);
  const methods = listMethods(names);
  return {
    operations: names,
    ...(imported.kind === "document" ? { openapi: imported.document } : {}),
    ...(methods.length > 0 ? { allow_methods: methods } : {}),
  };
}

interface Props {
  readonly imported: Imported;
  readonly change: (imported: Imported, baseUrl?: string) => void;
  readonly error: string | undefined;
}

export function OperationChooser({ imported, change, error }: Props) {
  const [wrong, setWrong] = useState<string | null>(null);
  const [search, setSearch] = useState("");
  const take = (text: string): void => {
    const read = readDocument(text);
    setWrong(read.kind === "wrong" ? texts.documentWrong[read.why] : null);
    if (read.kind === "wrong") return change({ kind: "none" });
    const chosen = new Set(read.operations.filter((one) => one.isReading).map((one) => one.name));
    change({ kind: "document", document: read.document, operations: read.operations, chosen }, read.baseUrl);
  };
  return (
    <>
      <Field label={texts.openapi} hint={texts.openapiHint} error={wrong ?? undefined}>
        {(ids) => (
          <input
            {...ids}
            type="file"
            accept=".json,application/json"
            onChange={(event) => {
              const file = event.currentTarget.files?.[0];
              if (file && file.size > FILE_MAX) setWrong(texts.documentWrong.too_large);
              else if (file) void file.text().then(take);
            }}
          />
        )}
      </Field>
      {imported.kind === "document" ? (
        <Choices imported={imported} change={change} search={search} setSearch={setSearch} />
      ) : (
        <AreaField
          label={texts.byHand}
          hint={texts.byHandHint}
          rows={3}
          value={imported.kind === "listed" ? imported.text : ""}
          onChange={(text) => change(text.trim() === "" ? { kind: "none" } : { kind: "listed", text })}
        />
      )}
      {error && <Notice kind="warning">{error}</Notice>}
    </>
  );
}

function Choices(props: {
  readonly imported: Imported & { readonly kind: "document" };
  readonly change: Props["change"];
  readonly search: string;
  readonly setSearch: (text: string) => void;
}) {
  const { imported, change } = props;
  const wanted = props.search.toLowerCase();
  const shown = imported.operations.filter((one) => `${one.name} ${one.summary}`.toLowerCase().includes(wanted));
  const choose = (names: readonly string[], is: boolean): void => {
    const chosen = new Set(imported.chosen);
    for (const name of names) is ? chosen.add(name) : chosen.delete(name);
    change({ ...imported, chosen });
  };
  const names = shown.map((one) => one.name);
  return (
    <fieldset>
      <legend>{texts.chosenOf(imported.chosen.size, imported.operations.length)}</legend>
      {imported.operations.length > 10 && <TextField label={texts.search} value={props.search} onChange={props.setSearch} />}
      <p class="actions">
        <button type="button" class="small" onClick={() => choose(names, true)}>{texts.chooseAll}</button>
        <button type="button" class="small" onClick={() => choose(names, false)}>{texts.chooseNone}</button>
        <button type="button" class="small" onClick={() => change({ kind: "none" })}>{texts.dropDocument}</button>
      </p>
      <div class="operations" role="group" aria-label={texts.what} tabIndex={0}>
        {shown.map((one) => (
          <CheckField
            key={one.name}
            label={one.summary === "" ? one.name : `${one.name} · ${one.summary}`}
            value={imported.chosen.has(one.name)}
            onChange={(is) => choose([one.name], is)}
          />
        ))}
      </div>
    </fieldset>
  );
}
