/** The operator: how the deployment stands, and what a person must look at. Nothing is changed from here. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { RequestFailed, orSignedOut } from "../../api/http.ts";
import { type Schemas, api } from "../../api/market.ts";
import { exact, formatCount, formatSpan, formatTime, formatUnits, formatUsdc } from "../../amounts.ts";
import { TxLink } from "../../app/money.tsx";
import { Figure, Notice, Table, Usdc } from "../../app/parts.tsx";
import { useRemote } from "../../app/remote.ts";
import { useTask } from "../../app/task.tsx";
import { operatorTexts as texts } from "../../text.ts";
import { SignOut, SignedIn } from "../supplier/signed-in.tsx";

type Overview = Schemas["OperatorOverview"];
type Audit = Schemas["AuditView"];

const EVERY_MS = 10_000;

export function Operator() {
  const overview = useRemote("operator", (signal) => asOperator(api.get("/v1/operator/overview", { signal })), EVERY_MS);
  return (
    <>
      <div class="heading">
        <h1>{texts.title}</h1>
        <SignOut />
      </div>
      <p>
        {texts.lead} <a href="/review">{texts.review}</a>
      </p>
      <SignedIn of={overview}>
        {(data) => (
          <>
            <Alarms alarms={data.alarms} />
            <Chain overview={data} />
            <Books overview={data} />
            <Keeper overview={data} />
            <Market overview={data} />
            <p class="quiet">{texts.asOf(formatTime(data.at))}</p>
          </>
        )}
      </SignedIn>
    </>
  );
}

async function asOperator<Body>(answer: Promise<Body>): Promise<Body | null> {
  try {
    return await orSignedOut(answer);
  } catch (error) {
    if (error instanceof RequestFailed && error.code === "role_missing") throw new Error(texts.noOperator);
    throw error;
  }
}

function Alarms({ alarms }: { readonly alarms: Overview["alarms"] }) {
  if (alarms.length === 0) return <Notice kind="good">{texts.noAlarms}</Notice>;
  return (
    <section>
      <h2>{texts.alarms(alarms.length)}</h2>
      {alarms.map((alarm) => (
        <div key={alarm.name} class="notice problem">
          <strong>{texts.alarmNames[alarm.name].name}</strong> <span class="quiet">{alarm.detail}</span>
          <p>{texts.alarmNames[alarm.name].todo}</p>
        </div>
      ))}
    </section>
  );
}

function Part({ title, children }: { readonly title: string; readonly children: ComponentChildren }) {
  return (
    <section>
      <h2>{title}</h2>
      {children}
    </section>
  );
}

const span = (seconds: number | null): string => (seconds === null ? texts.nothing : formatSpan(seconds));
const count = (value: number | null): string => (value === null ? texts.nothing : formatCount(value));

function Chain({ overview }: { readonly overview: Overview }) {
  const { chain, processes } = overview;
  const isKnown = chain.head_block !== null && chain.mirrored_block !== null;
  const nodeLag = isKnown ? Math.max(0, (chain.head_block ?? 0) - (chain.mirrored_block ?? 0)) : null;
  return (
    <Part title={texts.indexer}>
      <dl class="figures">
        <Figure name={texts.block}>{count(chain.mirrored_block)}</Figure>
        <Figure name={texts.behind}>{count(chain.lag_blocks)}</Figure>
        <Figure name={texts.atHead}>{span(chain.age_s)}</Figure>
        <Figure name={texts.nodeHead} hint={chain.head_age_s === null ? "" : texts.blockAge(formatSpan(chain.head_age_s))}>
          {chain.head_block === null ? texts.nodeSilent : formatCount(chain.head_block)}
        </Figure>
        <Figure name={texts.behindNode}>{count(nodeLag)}</Figure>
      </dl>
      {processes.length > 0 && (
        <Table label={texts.servers}>
          <thead>
            <tr>
              <th scope="col">{texts.server}</th>
              <th scope="col" class="number">{texts.up}</th>
              <th scope="col" class="number">{texts.silent}</th>
            </tr>
          </thead>
          <tbody>
            {processes.map((one, at) => (
              <tr key={at}>
                <th scope="row">{one.role}</th>
                <td class="number">{formatSpan(one.up_s)}</td>
                <td class="number">{one.silent_s === null ? texts.lives : formatSpan(one.silent_s)}</td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
    </Part>
  );
}

function Books({ overview }: { readonly overview: Overview }) {
  const { positions, usage } = overview;
  return (
    <Part title={texts.books}>
      <dl class="figures">
        <Figure name={texts.positions} hint={texts.withHold(formatCount(positions.with_hold))}>{formatCount(positions.count)}</Figure>
        <Figure name={texts.principal}><Usdc of={exact(positions.principal_usdc)} /></Figure>
        <Figure name={texts.credited}><Usdc of={exact(positions.credited_usdc)} /></Figure>
        <Figure name={texts.spent}><Usdc of={exact(positions.spent_usdc)} /></Figure>
        <Figure name={texts.withdrawn}><Usdc of={exact(positions.withdrawn_usdc)} /></Figure>
        <Figure name={texts.held}><Usdc of={exact(positions.held_usdc)} /></Figure>
        <Figure name={texts.drawn}><Usdc of={exact(positions.drawn_usdc)} /></Figure>
        <Figure name={texts.posted} hint={texts.oldest(span(usage.posted_oldest_s))}><Usdc of={exact(usage.posted_usdc)} /></Figure>
        <Figure name={texts.inFlight}>{formatCount(usage.in_flight)}</Figure>
        <Figure name={texts.day} hint={texts.worth(formatUsdc(exact(usage.day_usdc)))}>{formatCount(usage.day_requests)}</Figure>
      </dl>
      <AuditNow />
    </Part>
  );
}

function AuditNow() {
  const [audit, setAudit] = useState<Audit | null>(null);
  const task = useTask();
  const run = () => task.run(async () => setAudit(await api.get("/v1/operator/audit", { timeoutMs: 130_000 })));
  return (
    <>
      <button type="button" disabled={task.isBusy} onClick={() => void run()}>
        {task.isBusy ? texts.auditing : texts.audit}
      </button>
      <div aria-live="polite">
        {task.error && <Notice kind="warning">{task.error.message}</Notice>}
        {audit?.count === 0 && <Notice kind="good">{texts.auditRight(formatTime(audit.ran_at))}</Notice>}
        {audit !== null && audit.count > 0 && (
          <div class="notice problem">
            <strong>{texts.auditWrong(audit.count)}</strong>
            <p>{texts.auditTodo}</p>
            <ul>
              {audit.violations.map((one, at) => (
                <li key={at}>
                  {one.invariant}, {one.subject}: {one.detail}
                </li>
              ))}
            </ul>
          </div>
        )}
      </div>
    </>
  );
}

function Keeper({ overview }: { readonly overview: Overview }) {
  const { keeper } = overview;
  return (
    <Part title={texts.keeper}>
      {keeper.accounts.length === 0 ? (
        <p class="quiet">{texts.noAccounts}</p>
      ) : (
        <Table label={texts.accounts}>
          <thead>
            <tr>
              <th scope="col">{texts.account}</th>
              <th scope="col" class="number">{texts.ether}</th>
            </tr>
          </thead>
          <tbody>
            {keeper.accounts.map((one) => (
              <tr key={one.address}>
                <th scope="row"><code>{one.address}</code></th>
                <td class="number">{one.ether_wei === null ? texts.nodeSilent : formatUnits(BigInt(one.ether_wei), 18)}</td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
      <Counts of={keeper.gas_day_usdc} title={texts.gas} show={(usdc) => `${formatUsdc(exact(usdc))} USDC`} />
      <dl class="figures">
        <Figure name={texts.resting}>{formatCount(keeper.items_at_rest)}</Figure>
        <Figure name={texts.stopped}>{keeper.stopped_kinds.length === 0 ? texts.nothing : keeper.stopped_kinds.join(", ")}</Figure>
      </dl>
      {keeper.intents.length === 0 ? (
        <p class="quiet">{texts.noIntents}</p>
      ) : (
        <Table label={texts.intents}>
          <thead>
            <tr>
              <th scope="col">{texts.kind}</th>
              <th scope="col">{texts.state}</th>
              <th scope="col" class="number">{texts.age}</th>
              <th scope="col">{texts.tx}</th>
            </tr>
          </thead>
          <tbody>
            {keeper.intents.map((one) => (
              <tr key={one.intent_id}>
                <th scope="row">{one.kind}</th>
                <td>{one.state}</td>
                <td class="number">{formatSpan(one.age_s)}</td>
                <td><TxLink network="base" chainId={overview.chain_id} hash={one.tx_hash} /></td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
    </Part>
  );
}

function Market({ overview }: { readonly overview: Overview }) {
  const { market, waiting } = overview;
  return (
    <Part title={texts.market}>
      <dl class="figures">
        <Figure name={texts.paid}><Usdc of={exact(market.day_cost_usdc)} /></Figure>
        <Figure name={texts.earned}><Usdc of={exact(market.day_earning_usdc)} /></Figure>
        <Figure name={texts.waitingPayouts(market.payouts_waiting)} hint={texts.oldest(span(market.payouts_oldest_s))}>
          <Usdc of={exact(market.payouts_waiting_usdc)} />
        </Figure>
        <Figure name={texts.prepaid} hint={texts.spentOf(formatUsdc(exact(market.prepaid_usdc.spent)))}>
          <Usdc of={exact(market.prepaid_usdc.credited)} />
        </Figure>
        <Figure name={texts.reviews} hint={texts.oldest(span(waiting.review_oldest_s))}>{formatCount(waiting.reviews)}</Figure>
        <Figure name={texts.mails} hint={texts.failed(waiting.mails_failed)}>{formatCount(waiting.mails)}</Figure>
      </dl>
      <Counts of={market.offers} title={texts.offers} />
      <Counts of={market.day_sales} title={texts.sales} />
      <Counts of={market.supplier_payouts} title={texts.supplierPayouts} />
      <Counts of={market.connections} title={texts.connections} />
      <Counts of={market.payments} title={texts.payments} />
      <Counts of={market.failing_sellers} title={texts.failing} />
    </Part>
  );
}

/** How many of each kind, in one line. */
function Counts(props: { readonly of: Readonly<Record<string, number>>; readonly title: string; readonly show?: (count: number) => string }) {
  const counts = Object.entries(props.of);
  return (
    <p class="counts">
      <strong>{props.title}:</strong>{" "}
      {counts.length === 0
        ? texts.nothing
        : counts.map(([name, value]) => `${name} ${(props.show ?? formatCount)(value)}`).join(" · ")}
    </p>
  );
}
