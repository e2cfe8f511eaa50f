/** One application: two versions side by side, their documents, what was decided, and the decision. */
import { useState } from "preact/hooks";
import { type Schemas, api } from "../../api/market.ts";
import { supply } from "../../api/supply.ts";
import { formatTime } from "../../amounts.ts";
import { SelectField } from "../../app/fields.tsx";
import { Foldable, Notice, Shown, Table } from "../../app/parts.tsx";
import { useRemote } from "../../app/remote.ts";
import { kybStates, reviewTexts as texts } from "../../text.ts";
import { nameOf } from "../supplier/requirements.ts";
import { SignedIn } from "../supplier/signed-in.tsx";
import { Decide } from "./decide.tsx";
import { Comparison } from "./comparison.tsx";
import { asReviewer } from "./review.tsx";

type Reviewed = Schemas["ReviewedApplication"];

export function Application({ supplierId }: { readonly supplierId: string }) {
  const found = useRemote(supplierId, (signal) =>
    asReviewer(
      Promise.all([
        supply.get("/v1/review/applications/{supplier_id}", { signal, path: { supplier_id: supplierId } }),
        api.get("/v1/supply/account", { signal }),
      ]),
    ),
  );
  return (
    <>
      <p>
        <a href="/review">{texts.back}</a>
      </p>
      <SignedIn of={found}>
        {([reviewed, account]) => (
          <>
            <h2>
              {reviewed.email} <span class="tag">{kybStates[reviewed.kyb_status].name}</span>
            </h2>
            <Versions reviewed={reviewed} />
            <Decisions reviewed={reviewed} />
            <Decide reviewed={reviewed} isOperator={account.role === "operator"} done={found.refresh} />
            {account.role === "operator" && (
              <Foldable title={texts.audit}>
                <Audit supplierId={supplierId} />
              </Foldable>
            )}
          </>
        )}
      </SignedIn>
    </>
  );
}

function Versions({ reviewed }: { readonly reviewed: Reviewed }) {
  const [newest, before] = reviewed.versions;
  const [right, setRight] = useState(newest?.version ?? 0);
  const [left, setLeft] = useState(before?.version ?? 0);
  const find = (version: number) => reviewed.versions.find((one) => one.version === version);
  const shown = find(right) ?? newest;
  if (!shown) return <Notice>{texts.noVersion}</Notice>;
  const choices = reviewed.versions.map((one) => [String(one.version), texts.versionOf(one.version, formatTime(one.submitted_at))] as const);
  return (
    <>
      {reviewed.versions.length > 1 && (
        <div class="pair">
          <SelectField label={texts.older} choices={choices} value={String(left)} onChange={(version) => setLeft(Number(version))} />
          <SelectField label={texts.newer} choices={choices} value={String(right)} onChange={(version) => setRight(Number(version))} />
        </div>
      )}
      <Comparison supplierId={reviewed.supplier_id} left={left === right ? undefined : find(left)} right={shown} />
    </>
  );
}

function Decisions({ reviewed }: { readonly reviewed: Reviewed }) {
  const decided = reviewed.versions.flatMap((one) => one.decisions.map((decision) => ({ version: one.version, decision })));
  if (decided.length === 0) return null;
  return (
    <section>
      <h2>{texts.decided}</h2>
      {decided.map(({ version, decision }) => (
        <div key={`${version} ${decision.decided_at}`} class="card">
          <strong>{texts.decisions[decision.decision]}</strong>{" "}
          <span class="quiet">
            {texts.decidedAt(version, formatTime(decision.decided_at), decision.reviewer)}
            {!decision.is_final && ` ${texts.notFinal}`}
          </span>
          <ul>
            {decision.items.map((item) => (
              <li key={`${item.requirement} ${item.text}`}>
                {nameOf(item.requirement)}: {item.text}
                {item.inside && <small>{texts.inside(item.inside)}</small>}
              </li>
            ))}
          </ul>
          {decision.note && <p>{texts.inside(decision.note)}</p>}
        </div>
      ))}
    </section>
  );
}

function Audit({ supplierId }: { readonly supplierId: string }) {
  const log = useRemote("audit", (signal) => api.get("/v1/review/audit", { signal, query: { supplier_id: supplierId } }));
  return (
    <Shown of={log}>
      {({ entries }) => (
        <Table label={texts.audit}>
          <thead>
            <tr>
              <th scope="col">{texts.when}</th>
              <th scope="col">{texts.who}</th>
              <th scope="col">{texts.did}</th>
            </tr>
          </thead>
          <tbody>
            {entries.map((one) => (
              <tr key={one.entry_id}>
                <td>{formatTime(one.at)}</td>
                <td>{one.actor}</td>
                <td>{one.action} {one.subject}</td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
    </Shown>
  );
}
