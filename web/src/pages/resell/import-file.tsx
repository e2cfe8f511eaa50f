/** Connect APIs by a file: the YAML that `current marketplace api enable` takes, read in the browser. */
import { useState } from "preact/hooks";
import { type Schemas, api } from "../../api/market.ts";
import { Field } from "../../app/parts.tsx";
import { toError, useTask } from "../../app/task.tsx";
import { resellTexts as texts } from "../../text.ts";
import { type ReadFile, readConnectionFile, toChange } from "./connection-file.ts";

const BYTES_MAX = 256 * 1_024;

interface Outcome {
  readonly name: string;
  /** Null: it is on sale. */
  readonly refused: string | null;
}

export function ImportFile(props: { readonly known: readonly Schemas["ConnectionView"][]; readonly done: () => void }) {
  const [text, setText] = useState("");
  const [outcomes, setOutcomes] = useState<readonly Outcome[]>([]);
  const [isTooLarge, setTooLarge] = useState(false);
  const task = useTask();
  const read = text.trim() === "" ? null : readConnectionFile(text);
  const put = () =>
    task.run(async () => {
      if (read?.kind !== "entries") return;
      const ended: Outcome[] = [];
      for (const entry of read.entries) {
        const there = props.known.find((one) => one.name === entry.name);
        try {
          if (there) {
            const path = { connection_id: there.id };
            await api.patch("/v1/seller/connections/{connection_id}", { path, body: toChange(entry) as Schemas["ConnectionChange"] });
          } else {
            await api.post("/v1/seller/connections", { body: entry.body as unknown as Schemas["ConnectionWish"] });
          }
          ended.push({ name: entry.name, refused: null });
        } catch (thrown) {
          ended.push({ name: entry.name, refused: toError(thrown).message });
        }
        setOutcomes([...ended]);
      }
      // The keys in it are not kept in the page once the market has them.
      if (ended.every((one) => one.refused === null)) setText("");
      props.done();
    });
  return (
    <details class="card">
      <summary>{texts.importTitle}</summary>
      <p>{texts.importWhy}</p>
      <pre>{texts.importExample}</pre>
      <p class="quiet">{texts.importMore}</p>
      <Field label={texts.importFile} error={isTooLarge ? texts.importTooLarge : undefined}>
        {(ids) => (
          <input
            {...ids}
            type="file"
            accept=".yaml,.yml,text/yaml"
            onChange={(event) => {
              const file = event.currentTarget.files?.[0];
              setTooLarge(file !== undefined && file.size > BYTES_MAX);
              if (file && file.size <= BYTES_MAX) void file.text().then(setText);
            }}
          />
        )}
      </Field>
      <Field label={texts.importText} error={read?.kind === "wrong" ? explain(read) : undefined}>
        {(ids) => (
          <textarea {...ids} rows={8} spellcheck={false} autocomplete="off" value={text} onInput={(event) => setText(event.currentTarget.value)} />
        )}
      </Field>
      <button type="button" class="main" disabled={task.isBusy || read?.kind !== "entries"} onClick={() => void put()}>
        {read?.kind === "entries" ? texts.importPut(read.entries.map((entry) => entry.name).join(", ")) : texts.importNothing}
      </button>
      <ul aria-live="polite">
        {outcomes.map((one) => (
          <li key={one.name}>{one.refused === null ? texts.connected(one.name) : `${one.name}: ${one.refused}`}</li>
        ))}
      </ul>
    </details>
  );
}

function explain(read: ReadFile & { readonly kind: "wrong" }): string {
  return read.why === "line" ? texts.importWrong.line(read.line) : texts.importWrong[read.why];
}
