/** Sell: sign in by wallet, offers, earnings and what failed. */
import { useState } from "preact/hooks";
import { type Schemas, api } from "../../api/market.ts";
import { exact, formatCount, formatTime, formatUsdc } from "../../amounts.ts";
import { Figure, Notice, Problem, Shown, Table, Usdc } from "../../app/parts.tsx";
import { useRemote } from "../../app/remote.ts";
import { sellTexts as texts } from "../../text.ts";
import { toProblem } from "../../wallet/problems.ts";
import { NewOffer } from "./new-offer.tsx";
import { pairOf } from "./market.tsx";
import { AsSeller } from "./seller-sign-in.tsx";

type Offer = Schemas["OfferView"];

export function Sell() {
  return (
    <>
      <h1>{texts.title}</h1>
      <p>{texts.lead}</p>
      <AsSeller name="offers" why={texts.needWallet} ask={(signal) => api.get("/v1/seller/offers", { signal })}>
        {({ offers }, watched) => (
          <>
            <NewOffer done={watched.refresh} />
            <Offers offers={offers} refresh={watched.refresh} />
            <Earnings />
            <Failures />
          </>
        )}
      </AsSeller>
    </>
  );
}

function Offers({ offers, refresh }: { readonly offers: readonly Offer[]; readonly refresh: () => void }) {
  const [problem, setProblem] = useState<Error | null>(null);
  const change = async (work: Promise<unknown>): Promise<void> => {
    setProblem(null);
    try {
      await work;
      refresh();
    } catch (thrown) {
      setProblem(toProblem(thrown));
    }
  };
  const path = (offer: Offer) => ({ path: { offer_id: offer.id } });
  return (
    <section>
      <h2>{texts.offers}</h2>
      {problem && <Problem error={problem} />}
      {offers.length === 0 ? (
        <Notice>{texts.noOffers}</Notice>
      ) : (
        <Table label={texts.offers}>
          <thead>
            <tr>
              <th scope="col">{texts.model}</th>
              <th scope="col" class="number">{texts.price}</th>
              <th scope="col">{texts.state}</th>
              <th scope="col" class="number">{texts.soldToday}</th>
              <th scope="col" class="number">{texts.cap}</th>
              <th scope="col"><span class="hidden">{texts.actions}</span></th>
            </tr>
          </thead>
          <tbody>
            {offers.map((offer) => (
              <tr key={offer.id}>
                <th scope="row">
                  {offer.model}
                  <small>
                    {offer.provider} · {offer.seller_base_url}
                  </small>
                </th>
                <td class="number">{offer.cost_multiplier === null ? pairOf(offer) : texts.times(String(offer.cost_multiplier))}</td>
                <td>
                  <span class={offer.status === "active" ? "tag good" : "tag warning"}>{offer.status}</span>{" "}
                  {offer.health?.standing}
                </td>
                <td class="number">${offer.used_today_usd}</td>
                <td class="number">{offer.cap_daily_usd === null ? texts.noCap : `$${offer.cap_daily_usd}`}</td>
                <td>
                  <button
                    type="button"
                    class="small"
                    onClick={() =>
                      void change(
                        api.patch("/v1/seller/offers/{offer_id}", {
                          ...path(offer),
                          body: { status: offer.status === "active" ? "paused" : "active" },
                        }),
                      )
                    }
                  >
                    {offer.status === "active" ? texts.pause : texts.resume}
                  </button>{" "}
                  <button
                    type="button"
                    class="small danger"
                    onClick={() =>
                      window.confirm(texts.deleteAsk(offer.model)) &&
                      void change(api.delete("/v1/seller/offers/{offer_id}", path(offer)))
                    }
                  >
                    {texts.delete}
                  </button>
                </td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
    </section>
  );
}

function Earnings() {
  const page = useRemote("earnings", (signal) => api.get("/v1/seller/earnings", { signal, query: { limit: "100" } }));
  return (
    <section>
      <h2>{texts.earnings}</h2>
      <Shown of={page}>
        {({ totals, earnings }) => (
          <>
            <dl class="figures">
              <Figure name={texts.requests}>{formatCount(totals.requests)}</Figure>
              <Figure name={texts.earned} hint={texts.earnedHint}><Usdc of={exact(totals.earning_usdc)} /></Figure>
              <Figure name={texts.fee}><Usdc of={exact(totals.fee_usdc)} /></Figure>
              <Figure name={texts.unpaid} hint={texts.unpaidHint}><Usdc of={exact(totals.unpaid_usdc)} /></Figure>
            </dl>
            <p>
              <a class="button" href="/v1/seller/earnings.csv" download="earnings.csv">{texts.csv}</a>{" "}
              <a class="button" href="/v1/seller/health-log.csv" download="health-log.csv">{texts.healthCsv}</a>
            </p>
            {earnings.length > 0 && (
              <Table label={texts.earnings}>
                <thead>
                  <tr>
                    <th scope="col">{texts.when}</th>
                    <th scope="col">{texts.model}</th>
                    <th scope="col" class="number">{texts.earned}</th>
                    <th scope="col">{texts.payout}</th>
                  </tr>
                </thead>
                <tbody>
                  {earnings.map((one) => (
                    <tr key={one.sale_id}>
                      <td>{formatTime(one.resolved_at_s)}</td>
                      <th scope="row">{one.model}</th>
                      <td class="number">{formatUsdc(exact(one.earning_usdc))}</td>
                      <td>{one.payout_state ?? texts.notPlanned}</td>
                    </tr>
                  ))}
                </tbody>
              </Table>
            )}
          </>
        )}
      </Shown>
    </section>
  );
}

function Failures() {
  const log = useRemote("health", (signal) => api.get("/v1/seller/health-log", { signal, query: { limit: "50" } }));
  return (
    <section>
      <h2>{texts.failures}</h2>
      <Shown of={log}>
        {({ failures }) =>
          failures.length === 0 ? (
            <p class="quiet">{texts.noFailures}</p>
          ) : (
            <ul>
              {failures.map((one, at) => (
                <li key={at}>{JSON.stringify(one)}</li>
              ))}
            </ul>
          )
        }
      </Shown>
    </section>
  );
}
