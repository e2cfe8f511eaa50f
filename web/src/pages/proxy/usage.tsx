/** Usage: what was asked and charged, what it adds up to, and proof of each charge. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Hex as HexText } from "viem";
import { type Schemas, api, asPosition } from "../../api/proxy.ts";
import { browserHttp } from "../../api/http.ts";
import { exact, formatCount, formatTime, formatUsdc } from "../../amounts.ts";
import { Field, Figure, Notice, Problem, Table, Usdc, Waiting } from "../../app/parts.tsx";
import { Plot } from "../../charts/plot.tsx";
import { usageTexts as texts } from "../../text.ts";
import { gatherCells, rowsInSight, sumBy, sumDays } from "../../usage.ts";
import { useAct } from "../../wallet/acting.ts";
import { NeedWallet, Progress } from "../../wallet/panel.tsx";
import { Signed } from "../../wallet/signed.tsx";
import { useConnection } from "../../wallet/store.ts";

type Line = Schemas["UsageEntry"];
const PAGE = "1000";
const ROW_PX = 44;
const SHOW_EVERY_MS = 500;
const RANGES = [1, 7, 30, 365];

export function Usage() {
  return (
    <>
      <h1>{texts.title}</h1>
      <Signed why={texts.why}>{(tokenId) => <Ranged key={tokenId} tokenId={tokenId} />}</Signed>
    </>
  );
}

interface Loaded {
  readonly lines: readonly Line[];
  readonly isWhole: boolean;
  readonly error: Error | null;
}

/** Loads every page of a range, so that sums and filters are of all of it, not of its first page. */
function useAll(tokenId: string, days: number, attempt: number): Loaded {
  const [loaded, setLoaded] = useState<Loaded>({ lines: [], isWhole: false, error: null });
  useEffect(() => {
    const abort = new AbortController();
    const from = String(Math.floor(Date.now() / 1_000) - days * 86_400);
    setLoaded({ lines: [], isWhole: false, error: null });
    void (async () => {
      const lines: Line[] = [];
      let shownMs = Date.now();
      let cursor: string | undefined;
      try {
        do {
          const query = { from, limit: PAGE, cursor };
          const page = await api.get("/api/current/usage", { query, signal: abort.signal, ...asPosition(tokenId) });
          for (const line of page.data) lines.push(line);
          cursor = page.next_cursor ?? undefined;
          // Sums and plot are of all lines, so a long list is drawn now and then, and at its end.
          if (cursor !== undefined && Date.now() - shownMs < SHOW_EVERY_MS) continue;
          setLoaded({ lines: [...lines], isWhole: cursor === undefined, error: null });
          shownMs = Date.now();
        } while (cursor !== undefined);
      } catch (error) {
        if (!abort.signal.aborted) setLoaded({ lines: [...lines], isWhole: false, error: error as Error });
      }
    })();
    return () => abort.abort();
  }, [tokenId, days, attempt]);
  return loaded;
}

function Ranged({ tokenId }: { readonly tokenId: string }) {
  const [days, setDays] = useState(30);
  const [attempt, setAttempt] = useState(0);
  const [model, setModel] = useState("");
  const { lines, isWhole, error } = useAll(tokenId, days, attempt);
  const all = useMemo(() => gatherCells(lines), [lines]);
  const models = useMemo(() => [...new Set(all.map((cell) => cell.model))].sort(), [all]);
  const cells = useMemo(() => (model ? all.filter((cell) => cell.model === model) : all), [all, model]);
  const shown = useMemo(() => (model ? lines.filter((line) => line.model === model) : lines), [lines, model]);
  const byDay = useMemo(() => sumDays(cells), [cells]);
  const total = byDay.reduce((sum, day) => sum + day.costUsdc, 0n);
  const points = byDay.map(({ at, costUsdc }) => ({ at, value: Number(costUsdc) / 1e6 }));
  return (
    <>
      <div class="columns">
        <Field label={texts.range}>
          {(ids) => (
            <select {...ids} onChange={(event) => setDays(Number(event.currentTarget.value))}>
              {RANGES.map((one) => (
                <option key={one} value={one} selected={one === days}>
                  {texts.rangeOf(one)}
                </option>
              ))}
            </select>
          )}
        </Field>
        <Field label={texts.model}>
          {(ids) => (
            <select {...ids} onChange={(event) => setModel(event.currentTarget.value)}>
              <option value="">{texts.allModels}</option>
              {models.map((one) => (
                <option key={one} value={one} selected={one === model}>
                  {one}
                </option>
              ))}
            </select>
          )}
        </Field>
      </div>
      {error && <Problem error={error} again={() => setAttempt(attempt + 1)} />}
      {!isWhole && !error && <Waiting what={texts.loadingAll(formatCount(lines.length))} />}
      <dl class="figures">
        <Figure name={texts.requests} hint={isWhole ? "" : texts.soFar}>{formatCount(shown.length)}</Figure>
        <Figure name={texts.cost} hint={isWhole ? "" : texts.soFar}><Usdc of={total} /></Figure>
      </dl>
      {lines.length === 0 && isWhole ? (
        <Notice>{texts.nothing}</Notice>
      ) : (
        <>
          <Plot label={texts.byDay} series={[{ name: texts.cost, points, bars: true }]} />
          <div class="columns">
            <Sums title={texts.byModel} sums={sumBy(cells, (cell) => cell.model)} />
            <Sums title={texts.byKey} sums={sumBy(cells, (cell) => cell.key_id)} />
          </div>
          <h2>{texts.each}</h2>
          <Csv tokenId={tokenId} />
          <Lines lines={shown} tokenId={tokenId} />
        </>
      )}
    </>
  );
}

function Sums({ title, sums }: { readonly title: string; readonly sums: ReturnType<typeof sumBy> }) {
  return (
    <div>
      <h2>{title}</h2>
      <Table label={title}>
        <tbody>
          {sums.slice(0, 50).map((sum) => (
            <tr key={sum.name}>
              <th scope="row">{sum.name}</th>
              <td class="number">{formatCount(sum.requests)}</td>
              <td class="number"><Usdc of={sum.costUsdc} /></td>
            </tr>
          ))}
        </tbody>
      </Table>
    </div>
  );
}

function Csv({ tokenId }: { readonly tokenId: string }) {
  const [error, setError] = useState<Error | null>(null);
  const download = async (): Promise<void> => {
    setError(null);
    try {
      const options = { ...asPosition(tokenId), timeoutMs: 0 };
      const response = await browserHttp.send("GET", "/api/current/usage.csv", options);
      const url = URL.createObjectURL(await response.blob());
      const link = document.createElement("a");
      link.href = url;
      link.download = `usage-${tokenId}.csv`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
    } catch (thrown) {
      setError(thrown as Error);
    }
  };
  return (
    <p>
      <button type="button" class="small" onClick={() => void download()}>
        {texts.csv}
      </button>
      {error && <Problem error={error} />}
    </p>
  );
}

function Lines({ lines, tokenId }: { readonly lines: readonly Line[]; readonly tokenId: string }) {
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [chosen, setChosen] = useState<string | null>(null);
  const [first, end] = rowsInSight(top, box.current?.clientHeight ?? 520, ROW_PX, lines.length);
  return (
    <>
      <div
        class="rows"
        ref={box}
        role="region"
        aria-label={texts.each}
        tabIndex={0}
        onScroll={(event) => setTop(event.currentTarget.scrollTop)}
      >
        <table aria-rowcount={lines.length + 1}>
          <thead>
            <tr>
              <th scope="col">{texts.when}</th>
              <th scope="col">{texts.model}</th>
              <th scope="col">{texts.state}</th>
              <th scope="col" class="number">{texts.tokens}</th>
              <th scope="col" class="number">{texts.cost}</th>
              <th scope="col"><span class="hidden">{texts.verify}</span></th>
            </tr>
          </thead>
          <tbody>
            {first > 0 && <Gap rows={first} />}
            {lines.slice(first, end).map((line, at) => (
              <tr key={line.request_id} class="line" aria-rowindex={first + at + 2}>
                <td>{formatTime(line.reserved_at_s)}</td>
                <td>{line.model}</td>
                <td>{texts.states[line.state]}</td>
                <td class="number">
                  {formatCount(line.prompt_tokens ?? 0)} + {formatCount(line.completion_tokens ?? 0)}
                </td>
                <td class="number">{line.cost_usdc === null ? "" : formatUsdc(exact(line.cost_usdc))}</td>
                <td>
                  <button type="button" class="small" onClick={() => setChosen(line.request_id)}>
                    {texts.verify}
                  </button>
                </td>
              </tr>
            ))}
            {end < lines.length && <Gap rows={lines.length - end} />}
          </tbody>
        </table>
      </div>
      {chosen !== null && <Verify key={chosen} requestId={chosen} tokenId={tokenId} />}
    </>
  );
}

function Gap({ rows }: { readonly rows: number }) {
  return (
    <tr aria-hidden="true">
      <td colSpan={6} class="gap" ref={(cell: HTMLElement | null) => cell?.style.setProperty("block-size", `${rows * ROW_PX}px`)} />
    </tr>
  );
}

function Verify({ requestId, tokenId }: { readonly requestId: string; readonly tokenId: string }) {
  const connection = useConnection();
  const act = useAct();
  const begin = (): void =>
    void (async () => {
      const overview = await api.get("/api/current/overview");
      await act.run(overview.chain_id, async (tools) => {
        tools.say(texts.fetching);
        const receipt = await api.get("/api/current/receipts/{requestId}", { path: { requestId }, ...asPosition(tokenId) });
        const { verify } = await import("../../wallet/verify.ts");
        tools.say(texts.asking);
        const verdict = await verify(tools.wallet.provider, overview.contracts.position as HexText, receipt);
        if (verdict.kind === "unsettled") return texts.unsettled;
        if (verdict.kind === "false") throw new Error(texts.wrong[verdict.why]);
        return texts.proven(formatUsdc(exact(receipt.cost_usdc ?? 0)), verdict.root, verdict.txHash);
      });
    })();
  useEffect(() => {
    if (connection.kind === "connected") begin();
  }, [connection.kind]);
  return (
    <div class="card">
      <h3>{texts.verifyOf(requestId)}</h3>
      <p class="quiet">{texts.verifyHint}</p>
      {connection.kind !== "connected" && <NeedWallet why={texts.needWallet} />}
      <Progress act={act} />
    </div>
  );
}
