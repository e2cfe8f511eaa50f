/** Two versions of an application, field by field; what differs is marked in words and colour. */
import type { ComponentChildren } from "preact";
import type { Schemas } from "../../api/market.ts";
import { formatCount } from "../../amounts.ts";
import { nameCountry } from "../../app/countries.ts";
import { Table } from "../../app/parts.tsx";
import { documentNames, idTypeNames, intakeTexts, ownerRoleNames, reviewTexts as texts, sourceNames } from "../../text.ts";
import { nameOf } from "../supplier/requirements.ts";
import { DocumentLook } from "./document-look.tsx";

type Version = Schemas["ReviewedVersion"];

interface Row {
  readonly name: string;
  readonly say: (version: Version) => string;
}

const said = (value: string | number | null | undefined): string => (value === null || value === undefined ? "" : String(value));
const field = (requirement: string, say: Row["say"]): Row => ({ name: nameOf(requirement), say });

const ENTITY: readonly Row[] = [
  field("entity.legal_name", ({ entity }) => said(entity.legal_name)),
  field("entity.jurisdiction", ({ entity }) => nameCountry(said(entity.jurisdiction))),
  field("entity.registration_number", ({ entity }) => said(entity.registration_number)),
  field("entity.incorporated_on", ({ entity }) => said(entity.incorporated_on)),
  field("entity.address", ({ entity }) => said(entity.address)),
];
const SOURCE: readonly Row[] = [
  field("source.source_of_compute", ({ source }) => (source.source_of_compute ? sourceNames[source.source_of_compute] : "")),
  field("source.providers", ({ source }) => (source.providers ?? []).join(", ")),
  field("source.legal_basis", ({ source }) => said(source.legal_basis)),
  field("source.contract_holder", ({ source }) => said(source.contract_holder)),
  field("source.contract_reference", ({ source }) => said(source.contract_reference)),
  field("source.expected_monthly_tokens", ({ source }) => (source.expected_monthly_tokens ? formatCount(source.expected_monthly_tokens) : "")),
  field("source.no_personal_accounts", ({ source }) => (source.no_personal_accounts ? texts.yes : texts.no)),
];

interface Sides {
  readonly supplierId: string;
  readonly left: Version | undefined;
  readonly right: Version;
}

export function Comparison(sides: Sides) {
  return (
    <>
      <Rows title={intakeTexts.sections.entity} rows={ENTITY} {...sides} />
      <Beside title={intakeTexts.sections.owners} {...sides} draw={(version) => <Owners version={version} />} />
      <Rows title={intakeTexts.sections.source} rows={SOURCE} {...sides} />
      <Beside title={intakeTexts.sections.documents} {...sides} draw={(version) => <Documents supplierId={sides.supplierId} version={version} />} />
    </>
  );
}

function Rows({ title, rows, left, right }: Sides & { readonly title: string; readonly rows: readonly Row[] }) {
  return (
    <section>
      <h2>{title}</h2>
      <Table label={title}>
        <thead>
          <tr>
            <th scope="col">{texts.field}</th>
            {left && <th scope="col">{texts.versionNumber(left.version)}</th>}
            <th scope="col">{texts.versionNumber(right.version)}</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => {
            const isChanged = left !== undefined && row.say(left) !== row.say(right);
            return (
              <tr key={row.name} class={isChanged ? "changed" : ""}>
                <th scope="row">
                  {row.name} {isChanged && <span class="tag warning">{texts.changed}</span>}
                </th>
                {left && <td class="said">{row.say(left) || <span class="quiet">{texts.nothing}</span>}</td>}
                <td class="said">{row.say(right) || <span class="quiet">{texts.nothing}</span>}</td>
              </tr>
            );
          })}
        </tbody>
      </Table>
    </section>
  );
}

function Beside(props: Sides & { readonly title: string; readonly draw: (version: Version) => ComponentChildren }) {
  const { left, right } = props;
  return (
    <section>
      <h2>{props.title}</h2>
      <div class="columns">
        {left && (
          <div class="card">
            <h3>{texts.versionNumber(left.version)}</h3>
            {props.draw(left)}
          </div>
        )}
        <div class="card">
          <h3>{texts.versionNumber(right.version)}</h3>
          {props.draw(right)}
        </div>
      </div>
    </section>
  );
}

function Owners({ version }: { readonly version: Version }) {
  const isChanged = version.changed.includes("owners");
  return (
    <>
      {isChanged && <p><span class="tag warning">{texts.changedHere}</span></p>}
      <ul>
        {version.owners.map((owner) => (
          <li key={owner.owner_id}>
            <strong>{owner.legal_name}</strong>, {nameCountry(owner.nationality)}, {ownerRoleNames[owner.role]}, {owner.share_pct} %
            <small>{texts.identity(idTypeNames[owner.id_type], owner.identity_id)}</small>
            {owner.also_at.length > 0 && (
              <p class="notice warning">
                {texts.alsoAt}{" "}
                {owner.also_at.map((other) => (
                  <a key={other} href={`/review/${other}`}>{other} </a>
                ))}
              </p>
            )}
          </li>
        ))}
      </ul>
    </>
  );
}

function Documents({ supplierId, version }: { readonly supplierId: string; readonly version: Version }) {
  return (
    <ul class="plain">
      {version.documents.map((document) => (
        <li key={document.document_id}>
          <strong>{documentNames[document.kind]}</strong>{" "}
          {version.changed.includes(`documents.${document.kind}`) && <span class="tag warning">{texts.changedHere}</span>}
          <DocumentLook supplierId={supplierId} document={document} />
        </li>
      ))}
    </ul>
  );
}
