/** Evidence: what is known of whether a model's offers are the model that they are sold as. */
import { type Schemas, api } from "../../api/market.ts";
import { formatCount, formatTime } from "../../amounts.ts";
import { MoreButton } from "../../app/more.tsx";
import { usePages } from "../../app/pages.ts";
import { Notice, Shown, Table } from "../../app/parts.tsx";
import { usePlace } from "../../app/router.ts";
import { evidenceTexts as texts } from "../../text.ts";

type Offer = Schemas["OfferEvidence"];
type Verdict = Offer["verdict"];

/** Methods that look at what buyers ask: they never convict. */
const LIVE: ReadonlySet<string> = new Set(["prompt_tokens", "completion_tokens", "logprobs"]);

const TAGS: Readonly<Record<Verdict, string>> = {
  untested: "tag",
  clean: "tag good",
  watched: "tag warning",
  doubted: "tag bad",
  convicted: "tag bad",
};

export function Evidence() {
  const model = usePlace().query.get("model") ?? "";
  return (
    <>
      <h1>{model === "" ? texts.title : texts.titleOf(model)}</h1>
      <p>{texts.lead}</p>
      {model === "" ? (
        <Notice>
          {texts.choose} <a href="/">{texts.toMarket}</a>
        </Notice>
      ) : (
        <OfModel key={model} model={model} />
      )}
    </>
  );
}

function OfModel({ model }: { readonly model: string }) {
  const pages = usePages(`evidence ${model}`, async (cursor, signal) => {
    const page = await api.get("/v1/models/{model}/evidence", { signal, path: { model }, query: { cursor } });
    return { page, items: page.offers, next: page.next_cursor };
  });
  return (
    <>
      <Shown of={pages.first}>
        {(part) =>
          part && (
            <>
              {pages.items.length === 0 && <Notice>{texts.noOffers}</Notice>}
              {pages.items.map((offer) => (
                <OfOffer key={offer.offer_id} offer={offer} convictsAt={part.page.convicts_at} />
              ))}
              {pages.hasMore && <p class="quiet">{texts.shown(formatCount(pages.items.length))}</p>}
              <MoreButton pages={pages} />
            </>
          )
        }
      </Shown>
      <section>
        <h2>{texts.meaning}</h2>
        <ul>
          {texts.meanings.map((line) => (
            <li key={line}>{line}</li>
          ))}
        </ul>
        <p>
          <a href="/docs/evidence.md">{texts.more}</a>
        </p>
      </section>
    </>
  );
}

function OfOffer({ offer, convictsAt }: { readonly offer: Offer; readonly convictsAt: number }) {
  return (
    <section class="card">
      <div class="heading">
        <h2>{offer.provider}</h2>
        <span class={TAGS[offer.verdict]}>{texts.verdicts[offer.verdict]}</span>
      </div>
      <p>
        <strong>{texts.grade(offer.grade)}</strong> {texts.grades[offer.grade]}
      </p>
      <p class="quiet">
        {texts.offer} <code>{offer.offer_id}</code>
      </p>
      {offer.methods.length === 0 ? (
        <p class="quiet">{texts.untested}</p>
      ) : (
        <Table label={texts.methodsOf(offer.provider)}>
          <thead>
            <tr>
              <th scope="col">{texts.method}</th>
              <th scope="col" class="number">{texts.probes}</th>
              <th scope="col" class="number">{texts.looks}</th>
              <th scope="col" class="number">{texts.against}</th>
              <th scope="col">{texts.last}</th>
            </tr>
          </thead>
          <tbody>
            {offer.methods.map((one) => (
              <tr key={one.method}>
                <th scope="row">{texts.methods[one.method]}</th>
                <td class="number">{formatCount(one.probes)}</td>
                <td class="number">{formatCount(one.looks)}</td>
                <td class="number">
                  {LIVE.has(one.method) ? texts.oneInLive(oneIn(one.wealth)) : texts.oneIn(oneIn(one.wealth), formatCount(Math.round(convictsAt)))}
                </td>
                <td>{formatTime(one.last_at)}</td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
    </section>
  );
}

/** Returns how rarely an honest offer looks like that: in whole numbers, rounded down, 1 at least. */
export function oneIn(wealth: number): string {
  return formatCount(BigInt(Math.floor(Math.min(Math.max(1, wealth), 1e15))));
}
