/** What decides where money goes asks for the password, or a one-time code, again; then it goes on. */
import { useState } from "preact/hooks";
import { RequestFailed } from "../../api/http.ts";
import { supply } from "../../api/supply.ts";
import { TextField } from "../../app/fields.tsx";
import { type Task, TaskSaid, useTask } from "../../app/task.tsx";
import { confirmTexts as texts } from "../../text.ts";

export interface Confirming {
  readonly task: Task;
  /** Carries out `work`, after the visitor has confirmed where the server asks for it. */
  readonly run: (work: () => Promise<string | void>) => void;
  /** What waits for a confirmation; null: nothing does. */
  readonly waiting: (() => Promise<string | void>) | null;
  readonly drop: () => void;
}

export function useConfirming(): Confirming {
  const task = useTask();
  const [waiting, setWaiting] = useState<(() => Promise<string | void>) | null>(null);
  const run = (work: () => Promise<string | void>): void =>
    void task.run(async () => {
      try {
        const said = await work();
        setWaiting(null);
        return said;
      } catch (error) {
        if (!(error instanceof RequestFailed) || error.code !== "confirmation_needed") throw error;
        setWaiting(() => work);
      }
    });
  return { task, run, waiting, drop: () => setWaiting(null) };
}

export function Confirm({ of, hasCodes }: { readonly of: Confirming; readonly hasCodes: boolean }) {
  const [said, setSaid] = useState("");
  const task = useTask();
  const { waiting } = of;
  if (waiting === null) return <TaskSaid task={of.task} />;
  const confirm = () =>
    task.run(async () => {
      const isCode = hasCodes && /^\d{6}$/.test(said);
      await supply.post("/v1/supply/sessions/confirm", { body: isCode ? { code: said } : { password: said } });
      setSaid("");
      of.run(waiting);
    });
  return (
    <form
      class="notice warning"
      onSubmit={(event) => {
        event.preventDefault();
        void confirm();
      }}
    >
      <p>{texts.why}</p>
      <TextField label={hasCodes ? texts.either : texts.password} type="password" autocomplete="current-password" isRequired value={said} onChange={setSaid} />
      <div class="actions">
        <button type="submit" class="main" disabled={task.isBusy}>
          {texts.confirm}
        </button>
        <button type="button" onClick={of.drop}>
          {texts.cancel}
        </button>
      </div>
      <TaskSaid task={task} />
    </form>
  );
}
