/** Sell: sign in by wallet, offers, earnings and what failed. */
import { useState } from "preact/hooks";
import { type Schemas, api } from "../../api/market.ts";
import { Dollars } from "../../app/money.tsx";
import { Foldable, Notice, Problem, Table } from "../../app/parts.tsx";
import { sellTexts as texts, standingNames } from "../../text.ts";
import { toProblem } from "../../wallet/problems.ts";
import { ChangeOffer } from "./change-offer.tsx";
import { NewOffer } from "./new-offer.tsx";
import { pairOf } from "./market.tsx";
import { Earnings, Failures } from "./sell-earnings.tsx";
import { WalletKeys } from "./wallet-keys.tsx";
import { AsSeller } from "./wallet-sign-in.tsx";

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
            <Foldable title={texts.keys}>
              <WalletKeys role="seller" signedOut={watched.refresh} />
            </Foldable>
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
  const [edited, setEdited] = useState<string | null>(null);
  const editedOffer = offers.find((offer) => offer.id === edited);
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
                  <span class={offer.status === "active" && offer.suspended_for === null ? "tag good" : "tag warning"}>
                    {offer.suspended_for === null ? texts.statuses[offer.status] : texts.suspended}
                  </span>{" "}
                  {offer.health && standingNames[offer.health.standing]}
                  {offer.suspended_for !== null && <small>{texts.suspendedFor(offer.suspended_for)}</small>}
                </td>
                <td class="number"><Dollars of={String(offer.used_today_usd)} /></td>
                <td class="number">{offer.cap_daily_usd === null ? texts.noCap : <Dollars of={String(offer.cap_daily_usd)} />}</td>
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
                  <button type="button" class="small" onClick={() => setEdited(offer.id)}>
                    {texts.edit}
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
      {editedOffer && (
        <ChangeOffer
          key={editedOffer.id}
          offer={editedOffer}
          done={() => {
            setEdited(null);
            refresh();
          }}
        />
      )}
    </section>
  );
}
