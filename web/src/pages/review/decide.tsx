/** The decision on the newest version: what it is, and the items that the applicant is to put right. */
import { useState } from "preact/hooks";
import { RequestFailed, fieldOf } from "../../api/http.ts";
import type { Schemas } from "../../api/market.ts";
import { supply } from "../../api/supply.ts";
import { AreaField, type Choice, SelectField, TextField } from "../../app/fields.tsx";
import { Problem } from "../../app/parts.tsx";
import { TaskSaid, useTask } from "../../app/task.tsx";
import { requirementNames, reviewTexts as texts } from "../../text.ts";

type Word = Schemas["DecisionWish"]["decision"];
type Reviewed = Schemas["ReviewedApplication"];

/** In which states of an application each decision is possible. */
const FROM: Readonly<Record<Word, readonly string[]>> = {
  approve: ["under_review"],
  revise: ["under_review", "approved"],
  reject: ["under_review"],
  suspend: ["approved"],
  reinstate: ["suspended"],
};
const NEEDS_ITEMS: ReadonlySet<Word> = new Set<Word>(["revise", "reject", "suspend"]);
const OPERATORS_ONLY: ReadonlySet<Word> = new Set<Word>(["suspend", "reinstate"]);
const REQUIREMENTS: readonly Choice[] = Object.entries(requirementNames);

interface Item {
  readonly requirement: string;
  readonly text: string;
  readonly inside: string;
}
const EMPTY: Item = { requirement: "entity.legal_name", text: "", inside: "" };

/** Returns the decisions that somebody may take of an application as it stands. */
export function listDecisions(status: string, isOperator: boolean): Word[] {
  return (Object.keys(FROM) as Word[]).filter(
    (word) => FROM[word].includes(status) && (isOperator || !OPERATORS_ONLY.has(word)),
  );
}

export function Decide(props: { readonly reviewed: Reviewed; readonly isOperator: boolean; readonly done: () => void }) {
  const { reviewed } = props;
  const possible = listDecisions(reviewed.kyb_status, props.isOperator);
  const [chosen, setChosen] = useState<Word | "">("");
  const [items, setItems] = useState<readonly Item[]>([EMPTY]);
  const [note, setNote] = useState("");
  const task = useTask();
  if (possible.length === 0) return null;
  const word = possible.find((one) => one === chosen);
  const decide = () =>
    task.run(async () => {
      if (word === undefined) return;
      const sent = NEEDS_ITEMS.has(word) ? items : [];
      const body = { version: reviewed.version, decision: word, items: sent, note };
      const decided = await supply.post("/v1/review/applications/{supplier_id}/decisions", { path: { supplier_id: reviewed.supplier_id }, body });
      setChosen("");
      setItems([EMPTY]);
      setNote("");
      props.done();
      return texts.stands(decided.kyb_status);
    });
  const change = (place: number, changes: Partial<Item>): void => setItems(items.map((one, at) => (at === place ? { ...one, ...changes } : one)));
  const isOutdated = task.error instanceof RequestFailed && ["version_outdated", "not_possible"].includes(task.error.code);
  return (
    <form
      class="card"
      onSubmit={(event) => {
        event.preventDefault();
        if (word === "reject" && !window.confirm(texts.rejectAsk)) return;
        void decide();
      }}
    >
      <h2>{texts.decide(reviewed.version)}</h2>
      <SelectField
        label={texts.decision}
        choices={possible.map((one): Choice => [one, texts.decisions[one]])}
        empty={texts.choose}
        isRequired
        value={chosen}
        onChange={(value) => setChosen(value as Word | "")}
      />
      {word !== undefined && NEEDS_ITEMS.has(word) && (
        <>
          {items.map((item, place) => (
            <fieldset key={place}>
              <legend>{texts.item(place + 1)}</legend>
              <SelectField label={texts.requirement} choices={REQUIREMENTS} value={item.requirement} onChange={(requirement) => change(place, { requirement })} />
              <TextField
                label={texts.forApplicant}
                hint={texts.forApplicantHint}
                isRequired
                value={item.text}
                error={fieldOf(task.error) === `items[${place}].text` ? task.error?.message : undefined}
                onChange={(text) => change(place, { text })}
              />
              <TextField label={texts.forUs} value={item.inside} onChange={(inside) => change(place, { inside })} />
              {items.length > 1 && (
                <button type="button" class="small danger" onClick={() => setItems(items.filter((_, at) => at !== place))}>
                  {texts.removeItem(place + 1)}
                </button>
              )}
            </fieldset>
          ))}
          <p>
            <button type="button" class="small" onClick={() => setItems([...items, EMPTY])}>
              {texts.addItem}
            </button>
          </p>
        </>
      )}
      <AreaField label={texts.note} rows={2} value={note} onChange={setNote} />
      <button type="submit" class={word === "reject" || word === "suspend" ? "danger" : "main"} disabled={task.isBusy || word === undefined}>
        {word === undefined ? texts.decision : texts.decisions[word]}
      </button>
      {isOutdated ? <Problem error={task.error ?? new Error()} again={props.done} /> : <TaskSaid task={task} />}
    </form>
  );
}
