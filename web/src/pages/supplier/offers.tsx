/** A supplier's offers: what each sells and whether it serves; add, change, probe, pause, delete. */
import { useState } from "preact/hooks";
import { orSignedOut } from "../../api/http.ts";
import { type Schemas, api } from "../../api/market.ts";
import { supply } from "../../api/supply.ts";
import { formatCount, formatTime } from "../../amounts.ts";
import { Notice } from "../../app/parts.tsx";
import { useRemote } from "../../app/remote.ts";
import { TaskSaid, useTask } from "../../app/task.tsx";
import { causeNames, wordFor, offerStates, supplyOfferTexts as texts } from "../../text.ts";
import { showDecimal } from "../../app/money.tsx";
import { ChangeOffer, NewSupplyOffer, PROVIDERS } from "./offer-form.tsx";
import { SignedIn } from "./signed-in.tsx";

type Offer = Schemas["SupplyOfferView"];

const PAGE = 100;
const PROBING_MS = 2_000;
const QUIET_MS = 30_000;

/** Returns all offers: nobody looks for one on a page of a list. */
async function loadAll(signal: AbortSignal): Promise<readonly Offer[]> {
  const offers: Offer[] = [];
  let cursor: string | undefined;
  do {
    const page = await api.get("/v1/supply/offers", { signal, query: { limit: String(PAGE), cursor } });
    offers.push(...page.offers);
    cursor = page.next_cursor ?? undefined;
  } while (cursor !== undefined);
  return offers;
}

export function Offers() {
  const offers = useRemote(
    "offers",
    (signal) => orSignedOut(loadAll(signal)),
    (found) => (found?.some((offer) => offer.is_probe_due) ? PROBING_MS : QUIET_MS),
  );
  return (
    <SignedIn of={offers}>
      {(list) => (
        <>
          <NewSupplyOffer done={offers.refresh} isFirst={list.length === 0} />
          {list.length === 0 ? (
            <Notice>{texts.none}</Notice>
          ) : (
            <ul class="cards">
              {list.map((offer) => (
                <OfferCard key={offer.id} offer={offer} refresh={offers.refresh} />
              ))}
            </ul>
          )}
        </>
      )}
    </SignedIn>
  );
}

const TAGS: Readonly<Record<string, string>> = { active: "good", paused: "warning", pending_probe: "warning" };

function OfferCard({ offer, refresh }: { readonly offer: Offer; readonly refresh: () => void }) {
  const [isEdited, setEdited] = useState(false);
  const task = useTask();
  const path = { path: { offer_id: offer.id } };
  const act = (work: () => Promise<unknown>, said?: string) =>
    void task.run(async () => {
      await work();
      refresh();
      return said;
    });
  const state = offerStates[offer.status];
  const canPause = offer.status === "active" || offer.status === "pending_probe";
  return (
    <li class="card">
      <div class="heading">
        <h2>{offer.model_list.join(", ")}</h2>
        <span>
          <span class={`tag ${TAGS[offer.status] ?? "bad"}`}>{state.name}</span>{" "}
          {state.name !== offer.status && <code>{offer.status}</code>}
        </span>
      </div>
      <p class="quiet">{state.text}</p>
      <dl class="figures">
        <Item name={texts.bid}>{showDecimal(offer.bid_price_per_1m_usdt)} USDT</Item>
        <Item name={texts.quota}>
          {offer.quota_total === null
            ? texts.soldOf(formatCount(offer.quota_used))
            : texts.soldOf(formatCount(offer.quota_used), formatCount(offer.quota_total))}
        </Item>
        <Item name={texts.rpm}>{offer.rate_limit_rpm === null ? texts.noLimit : formatCount(offer.rate_limit_rpm)}</Item>
        <Item name={texts.provider}>
          {PROVIDERS[offer.provider_type]?.[0] ?? offer.provider_type}
          <small>{offer.base_url}</small>
        </Item>
      </dl>
      <Probe offer={offer} />
      <div class="actions">
        <button type="button" class="small" disabled={task.isBusy || offer.is_probe_due} onClick={() => act(() => supply.post("/v1/supply/offers/{offer_id}/probe", path))}>
          {offer.is_probe_due ? texts.probing : texts.probe}
        </button>
        {canPause ? (
          <button type="button" class="small" disabled={task.isBusy} onClick={() => act(() => supply.post("/v1/supply/offers/{offer_id}/pause", path))}>
            {texts.pause}
          </button>
        ) : (
          <button type="button" class="small" disabled={task.isBusy} onClick={() => act(() => supply.post("/v1/supply/offers/{offer_id}/resume", path))}>
            {texts.resume}
          </button>
        )}
        <button type="button" class="small" aria-expanded={isEdited} onClick={() => setEdited(!isEdited)}>
          {texts.edit}
        </button>
        <button
          type="button"
          class="small danger"
          disabled={task.isBusy}
          onClick={() => window.confirm(texts.deleteAsk(offer.model_list.join(", "))) && act(() => supply.delete("/v1/supply/offers/{offer_id}", path))}
        >
          {texts.delete}
        </button>
      </div>
      <TaskSaid task={task} />
      {isEdited && (
        <ChangeOffer
          offer={offer}
          done={() => {
            setEdited(false);
            refresh();
          }}
        />
      )}
    </li>
  );
}

function Item({ name, children }: { readonly name: string; readonly children: preact.ComponentChildren }) {
  return (
    <div class="figure small">
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** What the last probe found of each model; the provider's own words are text, never markup. */
function Probe({ offer }: { readonly offer: Offer }) {
  if (offer.is_probe_due) return <p class="quiet" role="status">{texts.probeDue}</p>;
  if (offer.probe === null) return null;
  return (
    <details open={!offer.probe.ok}>
      <summary>{offer.probe.ok ? texts.probedOk(formatTime(offer.probe.probed_at)) : texts.probedBad(formatTime(offer.probe.probed_at))}</summary>
      <ul>
        {offer.probe.models.map((one) => (
          <li key={one.model}>
            <strong>{one.model}</strong>: {one.ok ? texts.answered(one.latency_ms) : texts.failedBy(wordFor(causeNames, one.cause), one.latency_ms)}
            {one.detail && <pre>{one.detail}</pre>}
          </li>
        ))}
      </ul>
    </details>
  );
}
