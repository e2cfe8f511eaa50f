/** Position: where every unit of it is, and what its owner can do. */
import { useEffect, useState } from "preact/hooks";
import { type Overview, type Position as View, api } from "../../api/proxy.ts";
import { exact, formatSpan, formatTime, formatUsdc } from "../../amounts.ts";
import type { PageProps } from "../../app/lazy.tsx";
import { Copy, Figure, Hex, Notice, Shown, Table, Usdc } from "../../app/parts.tsx";
import { useRemote } from "../../app/remote.ts";
import { positionTexts as texts } from "../../text.ts";
import { NeedWallet, PendingList } from "../../wallet/panel.tsx";
import { useConnection } from "../../wallet/store.ts";
import { Actions } from "./position-actions.tsx";

const LOOK_AGAIN_MS = 5_000;

export function Position({ rest }: PageProps) {
  const connection = useConnection();
  const tokenId = rest[0];
  if (tokenId !== undefined && /^\d{1,19}$/.test(tokenId)) return <One key={tokenId} tokenId={tokenId} />;
  const address = connection.kind === "connected" ? connection.wallet.address : null;
  return (
    <>
      <h1>{texts.mine}</h1>
      <PendingList />
      {address === null ? <NeedWallet why={texts.needWallet} /> : <Mine address={address} />}
    </>
  );
}

function Mine({ address }: { readonly address: string }) {
  const owned = useRemote(`owned ${address}`, (signal) => api.get("/api/current/positions", { signal, query: { owner: address } }));
  return (
    <Shown of={owned}>
      {({ positions }) =>
        positions.length === 0 ? (
          <Notice>
            {texts.none} <a href="/deposit">{texts.open}</a>
          </Notice>
        ) : (
          <Table label={texts.mine}>
            <thead>
              <tr>
                <th scope="col">{texts.number}</th>
                <th scope="col" class="number">{texts.principal}</th>
                <th scope="col" class="number">{texts.unspent}</th>
              </tr>
            </thead>
            <tbody>
              {positions.map((one) => (
                <tr key={one.token_id}>
                  <th scope="row">
                    <a href={`/position/${one.token_id}`}>{texts.named(one.token_id.toString())}</a>
                  </th>
                  <td class="number"><Usdc of={exact(one.principal_usdc)} /></td>
                  <td class="number"><Usdc of={exact(one.unspent_usdc)} /></td>
                </tr>
              ))}
            </tbody>
          </Table>
        )
      }
    </Shown>
  );
}

interface Both {
  readonly overview: Overview;
  readonly view: View;
}

function One({ tokenId }: { readonly tokenId: string }) {
  const connection = useConnection();
  const both = useRemote<Both>(
    `position ${tokenId}`,
    async (signal) => {
      const [overview, view] = await Promise.all([
        api.get("/api/current/overview", { signal }),
        api.get("/api/current/positions/{tokenId}", { signal, path: { tokenId } }),
      ]);
      return { overview, view };
    },
    LOOK_AGAIN_MS,
  );
  return (
    <>
      <h1>{texts.named(tokenId)}</h1>
      <PendingList />
      <Shown of={both} what={texts.looking}>
        {({ overview, view }) => {
          const isOwner = connection.kind === "connected" && connection.wallet.address.toLowerCase() === view.owner;
          return (
            <>
              <Figures view={view} />
              {isOwner ? (
                <Actions overview={overview} view={view} refresh={both.refresh} />
              ) : (
                <NeedOwner isConnected={connection.kind === "connected"} />
              )}
              <Share tokenId={tokenId} />
            </>
          );
        }}
      </Shown>
    </>
  );
}

function NeedOwner({ isConnected }: { readonly isConnected: boolean }) {
  return isConnected ? <Notice>{texts.notOwner}</Notice> : <NeedWallet why={texts.needOwner} />;
}

function Figures({ view }: { readonly view: View }) {
  const { allowance, harvest, mirror } = view;
  const next = harvest.next_at ? formatTime(Date.parse(harvest.next_at) / 1_000) : null;
  return (
    <section>
      <dl class="figures">
        <Figure name={texts.principal} hint={texts.principalHint}><Usdc of={exact(view.principal_usdc)} /></Figure>
        <Figure name={texts.pending} hint={next ? texts.spendableAt(next) : texts.because(harvest.no_harvest_because ?? "")}>
          <Usdc of={view.pending_yield_usdc === null ? null : exact(view.pending_yield_usdc)} />
        </Figure>
        <Figure name={texts.credited} hint={texts.creditedHint}><Usdc of={exact(allowance.credited_usdc)} /></Figure>
        <Figure name={texts.spent}><Usdc of={exact(allowance.spent_usdc)} /></Figure>
        <Figure name={texts.takenOut}><Usdc of={exact(allowance.withdrawn_usdc)} /></Figure>
        <Figure name={texts.held} hint={texts.heldHint}><Usdc of={exact(allowance.held_usdc)} /></Figure>
        <Figure name={texts.inFlight} hint={texts.inFlightHint}><Usdc of={exact(allowance.in_flight_usdc)} /></Figure>
        <Figure name={texts.leftToday} hint={texts.resets(formatTime(Date.parse(allowance.resets_at) / 1_000))}>
          <Usdc of={exact(allowance.remaining_today_usdc)} />
        </Figure>
        <Figure name={texts.cap} hint={texts.capHint(formatUsdc(exact(allowance.day_spent_usdc)))}>
          <Usdc of={exact(allowance.day_cap_usdc)} />
        </Figure>
        <Figure name={texts.interval}>{formatSpan(harvest.interval_s)}</Figure>
      </dl>
      <p class="quiet">
        {texts.owner} <Hex of={view.owner} /> {texts.vault} <Hex of={view.vault} />{" "}
        {mirror ? texts.asOf(mirror.block_number.toString(), formatSpan(mirror.age_s)) : texts.noMirror}
      </p>
    </section>
  );
}

function Share({ tokenId }: { readonly tokenId: string }) {
  const [link, setLink] = useState("");
  useEffect(() => setLink(`${window.location.origin}/position/${tokenId}`), [tokenId]);
  return (
    <section>
      <h2>{texts.share}</h2>
      <p class="quiet">{texts.shareHint}</p>
      <p>
        <code>{link}</code> <Copy text={link} what={texts.copyLink} />
      </p>
    </section>
  );
}
