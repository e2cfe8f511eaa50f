/** KYB: four sections that save by themselves, what is still due, and the submission. */
import { useRef, useState } from "preact/hooks";
import { RequestFailed, orSignedOut } from "../../api/http.ts";
import { type Schemas, api } from "../../api/market.ts";
import { supply } from "../../api/supply.ts";
import { Notice, Problem } from "../../app/parts.tsx";
import { useRemote } from "../../app/remote.ts";
import { TaskSaid, useTask } from "../../app/task.tsx";
import { intakeTexts as texts, kybStates } from "../../text.ts";
import { DocumentSection } from "./intake-documents.tsx";
import { EntitySection } from "./intake-entity.tsx";
import { OwnersSection } from "./intake-owners.tsx";
import { type Filing, listDue } from "./intake-parts.tsx";
import { SourceSection } from "./intake-source.tsx";
import { DASHBOARD, SignOut, SignedIn } from "./signed-in.tsx";
import { nameOf } from "./requirements.ts";

type KybView = Schemas["KybView"];

export function Intake() {
  const [generation, setGeneration] = useState(0);
  const kyb = useRemote(`kyb ${generation}`, (signal) => orSignedOut(api.get("/v1/supply/kyb", { signal })));
  return (
    <>
      <div class="heading">
        <h1>{texts.title}</h1>
        <SignOut />
      </div>
      <SignedIn of={kyb}>
        {(data) => <Sections key={generation} loaded={data} reload={() => setGeneration(generation + 1)} />}
      </SignedIn>
    </>
  );
}

function Sections({ loaded, reload }: { readonly loaded: KybView; readonly reload: () => void }) {
  const [view, setView] = useState(loaded);
  const waiting = useRef<Promise<unknown>>(Promise.resolve());
  const filing: Filing = {
    view,
    reload,
    // One after the other: each answer says what is due after all that went before.
    save: (send) => {
      const answer = waiting.current.then(send).then((next) => {
        setView(next);
        return next;
      });
      waiting.current = answer.catch(() => null);
      return answer;
    },
  };
  return (
    <>
      <Standing view={view} />
      <Todo view={view} />
      <EntitySection filing={filing} loaded={loaded.entity} />
      <OwnersSection filing={filing} loaded={loaded.owners} />
      <SourceSection filing={filing} loaded={loaded.source} />
      <DocumentSection filing={filing} />
      <Submit view={view} settled={() => waiting.current} done={reload} />
    </>
  );
}

const KINDS: Readonly<Record<string, "good" | "warning" | "info">> = {
  approved: "good",
  revision_needed: "warning",
  rejected: "warning",
  suspended: "warning",
};

function Standing({ view }: { readonly view: KybView }) {
  const state = kybStates[view.kyb_status];
  return (
    <Notice kind={KINDS[view.kyb_status] ?? "info"}>
      <strong>{state.name}</strong> <code>{view.kyb_status}</code>
      <p>{state.text}</p>
      {(view.kyb_status === "approved" || view.kyb_status === "suspended") && (
        <a class="button" href={DASHBOARD}>
          {texts.toDashboard}
        </a>
      )}
    </Notice>
  );
}

/** What is due, and what a reviewer found wrong: each leads to its section. */
function Todo({ view }: { readonly view: KybView }) {
  const { errors } = view.requirements;
  const due = listDue(view);
  if (due.length === 0 && errors.length === 0) return null;
  return (
    <section class="card" aria-labelledby="todo">
      <h2 id="todo">{texts.todo}</h2>
      {errors.length > 0 && (
        <>
          <h3>{texts.revise}</h3>
          <ul>
            {errors.map((one) => (
              <li key={`${one.requirement} ${one.reason}`}>
                <a href={`#${one.requirement.split(".")[0]}`}>{nameOf(one.requirement)}</a>: {one.reason}
              </li>
            ))}
          </ul>
        </>
      )}
      {due.length > 0 && (
        <>
          <h3>{texts.due(due.length)}</h3>
          <ul>
            {due.map((one) => (
              <li key={one}>
                <a href={`#${one.split(".")[0]}`}>{nameOf(one)}</a>
              </li>
            ))}
          </ul>
        </>
      )}
    </section>
  );
}

function Submit(props: { readonly view: KybView; readonly settled: () => Promise<unknown>; readonly done: () => void }) {
  const task = useTask();
  const isDue = props.view.requirements.currently_due.length > 0;
  const missing = listDue(props.view).length;
  if (!props.view.can_change) return null;
  const submit = () =>
    task.run(async () => {
      await props.settled();
      await supply.post("/v1/supply/kyb/submit");
      props.done();
    });
  return (
    <section class="card">
      <h2>{texts.submitTitle}</h2>
      <p>{!isDue ? texts.allGreen : missing === 0 ? texts.saveFirst : texts.notYet(missing)}</p>
      <button type="button" class="main" disabled={isDue || task.isBusy} onClick={() => void submit()}>
        {texts.submit}
      </button>
      {task.error instanceof RequestFailed && task.error.code === "requirements_due" ? (
        <Problem error={task.error} again={props.done} />
      ) : (
        <TaskSaid task={task} />
      )}
      {props.view.version > 0 && <p class="quiet">{texts.submittedBefore(props.view.version)}</p>}
    </section>
  );
}
