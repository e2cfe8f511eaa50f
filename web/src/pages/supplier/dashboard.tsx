/** A supplier's dashboard: Overview, Offers, Payouts, Usage, Settings. */
import { orSignedOut } from "../../api/http.ts";
import { type Schemas, api } from "../../api/market.ts";
import { formatCount, formatPpm } from "../../amounts.ts";
import { Figure, Notice } from "../../app/parts.tsx";
import { useRemote } from "../../app/remote.ts";
import { usePlace } from "../../app/router.ts";
import { type Load, Lazy } from "../../app/lazy.tsx";
import { dashboardTexts as texts, kybStates, offerStates } from "../../text.ts";
import { Dollars } from "../../app/money.tsx";
import { DASHBOARD, INTAKE, SignOut, SignedIn } from "./signed-in.tsx";

/** The tabs, each loaded when it is first shown; the overview is there at once. */
const TABS: Readonly<Record<string, Load | null>> = {
  overview: null,
  offers: () => import("./offers.tsx").then((m) => m.Offers),
  payouts: () => import("./payouts.tsx").then((m) => m.Payouts),
  usage: () => import("./usage.tsx").then((m) => m.SupplierUsage),
  settings: () => import("./settings.tsx").then((m) => m.Settings),
};

export function Dashboard() {
  const asked = usePlace().query.get("tab") ?? "overview";
  const tab = asked in TABS ? asked : "overview";
  const load = TABS[tab] ?? null;
  return (
    <>
      <div class="heading">
        <h1>{texts.title}</h1>
        <SignOut />
      </div>
      <nav class="tabs" aria-label={texts.title}>
        {Object.keys(TABS).map((name) => (
          <a key={name} href={`${DASHBOARD}?tab=${name}`} aria-current={name === tab ? "page" : undefined}>
            {texts.tabs[name as keyof typeof texts.tabs]}
          </a>
        ))}
      </nav>
      {load === null ? <Overview /> : <Lazy key={tab} load={load} rest={[]} />}
    </>
  );
}

function Overview() {
  const overview = useRemote("overview", (signal) => orSignedOut(api.get("/v1/supply/overview", { signal })), 30_000);
  return (
    <SignedIn of={overview}>
      {(data) => (
        <>
          <Standing overview={data} />
          <Sums title={texts.today} sums={data.today} />
          <Sums title={texts.month} sums={data.last_30_days} />
          <h2>{texts.paid}</h2>
          <dl class="figures">
            <Figure name={texts.sent}><Dollars of={data.payouts.sent} /></Figure>
            <Figure name={texts.underway}><Dollars of={data.payouts.underway} /></Figure>
            <Figure name={texts.carried} hint={texts.carriedHint}><Dollars of={data.payouts.carried} /></Figure>
            <Figure name={texts.fee} hint={texts.feeHint}>{formatPpm(BigInt(data.fee_bps) * 100n)}</Figure>
          </dl>
          <p class="quiet">{texts.settles(data.settles_at)}</p>
        </>
      )}
    </SignedIn>
  );
}

function Standing({ overview }: { readonly overview: Schemas["SupplyOverview"] }) {
  const state = kybStates[overview.status as keyof typeof kybStates];
  const counts = Object.entries(overview.offers);
  if (overview.status !== "approved") {
    return (
      <Notice kind="warning">
        <strong>{state.name}</strong> <code>{overview.status}</code>
        <p>{state.text}</p>
        <a class="button" href={INTAKE}>{texts.toKyb}</a>
      </Notice>
    );
  }
  return (
    <>
      <h2>{texts.offers}</h2>
      {counts.length === 0 ? (
        <Notice>
          <p>{texts.noOffers}</p>
          <a class="button main" href={`${DASHBOARD}?tab=offers`}>{texts.addFirst}</a>
        </Notice>
      ) : (
        <ul class="chips">
          {counts.map(([status, count]) => (
            <li key={status}>
              <a href={`${DASHBOARD}?tab=offers`}>
                {formatCount(count)} × {offerStates[status as keyof typeof offerStates]?.name ?? status}
              </a>
            </li>
          ))}
        </ul>
      )}
    </>
  );
}

export function Sums({ title, sums }: { readonly title: string; readonly sums: Schemas["UsageSums"] }) {
  return (
    <>
      <h2>{title}</h2>
      <dl class="figures">
        <Figure name={texts.gross} hint={texts.grossHint}><Dollars of={sums.gross} /></Figure>
        <Figure name={texts.requests}>{formatCount(sums.requests)}</Figure>
        <Figure name={texts.input}>{formatCount(sums.input_tokens)}</Figure>
        <Figure name={texts.output}>{formatCount(sums.output_tokens)}</Figure>
      </dl>
    </>
  );
}
