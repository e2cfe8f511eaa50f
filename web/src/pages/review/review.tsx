/** Reviewers: the queue, and one application. */
import { useState } from "preact/hooks";
import { RequestFailed, orSignedOut } from "../../api/http.ts";
import { type Schemas, api } from "../../api/market.ts";
import { formatSpan, formatTime } from "../../amounts.ts";
import type { PageProps } from "../../app/lazy.tsx";
import { SelectField } from "../../app/fields.tsx";
import { Notice, Table } from "../../app/parts.tsx";
import { usePages } from "../../app/pages.ts";
import { kybStates, reviewTexts as texts } from "../../text.ts";
import { MoreButton } from "../../app/more.tsx";
import { SignOut, SignedIn } from "../supplier/signed-in.tsx";
import { Application } from "./application.tsx";

export function Review({ rest }: PageProps) {
  const supplierId = rest[0];
  return (
    <>
      <div class="heading">
        <h1>{supplierId === undefined ? texts.title : texts.application}</h1>
        <SignOut />
      </div>
      {supplierId === undefined ? <Queue /> : <Application key={supplierId} supplierId={supplierId} />}
    </>
  );
}

const STATUSES = (["under_review", "revision_needed", "approved", "suspended", "rejected"] as const).map(
  (status) => [status, kybStates[status].name] as const,
);

/** Returns an answer for reviewers; who is signed in as somebody else is told so. */
export async function asReviewer<Body>(answer: Promise<Body>): Promise<Body | null> {
  try {
    return await orSignedOut(answer);
  } catch (error) {
    if (error instanceof RequestFailed && error.code === "role_missing") throw new Error(texts.noReviewer);
    throw error;
  }
}

function Queue() {
  const [status, setStatus] = useState("under_review");
  const pages = usePages(`queue ${status}`, (cursor, signal) =>
    asReviewer(api.get("/v1/review/applications", { signal, query: { status, cursor, limit: "100" } })).then(
      (page) => page && { page, items: page.applications, next: page.next_cursor },
    ),
  );
  return (
    <>
      <p>{texts.lead}</p>
      <SelectField label={texts.status} choices={STATUSES} value={status} onChange={setStatus} />
      <SignedIn of={pages.first}>
        {() => (
          <>
            {pages.items.length === 0 ? <Notice>{texts.empty}</Notice> : <List entries={pages.items} />}
            <MoreButton pages={pages} />
          </>
        )}
      </SignedIn>
    </>
  );
}

function List({ entries }: { readonly entries: readonly Schemas["QueueEntry"][] }) {
  const nowS = Date.now() / 1_000;
  return (
    <Table label={texts.title}>
      <thead>
        <tr>
          <th scope="col">{texts.applicant}</th>
          <th scope="col" class="number">{texts.version}</th>
          <th scope="col">{texts.since}</th>
        </tr>
      </thead>
      <tbody>
        {entries.map((one) => (
          <tr key={one.supplier_id}>
            <th scope="row">
              <a href={`/review/${one.supplier_id}`}>{one.email}</a>
            </th>
            <td class="number">{one.version}</td>
            <td>
              {formatTime(one.since_at)} <span class="quiet">({texts.waits(formatSpan(nowS - one.since_at))})</span>
            </td>
          </tr>
        ))}
      </tbody>
    </Table>
  );
}
