/** One connection: enable, disable, test, delete; what its period comes to; its calls. */
import { useState } from "preact/hooks";
import { type Schemas, api } from "../../api/market.ts";
import { exact, formatCount, formatTime, formatUsdc } from "../../amounts.ts";
import { CsvButton } from "../../app/download.tsx";
import { TextField } from "../../app/fields.tsx";
import { Copy, Figure, Notice, Shown, Usdc } from "../../app/parts.tsx";
import { useRemote } from "../../app/remote.ts";
import { TaskSaid, useTask } from "../../app/task.tsx";
import { resellTexts as texts, standingNames } from "../../text.ts";

type View = Schemas["ConnectionView"];

export function Connection({ connection, refresh }: { readonly connection: View; readonly refresh: () => void }) {
  const [isOpen, setOpen] = useState(false);
  const task = useTask();
  const path = { path: { connection_id: connection.id } };
  const isEnabled = connection.status === "enabled";
  const act = (work: () => Promise<string | void>) =>
    void task.run(async () => {
      const said = await work();
      refresh();
      return said;
    });
  const change = (body: Record<string, unknown>) => act(async () => void (await api.patch("/v1/seller/connections/{connection_id}", { ...path, body })));
  const test = () =>
    act(async () => {
      const tried = await api.post("/v1/seller/connections/{connection_id}/test", path);
      if (!tried.ok) throw new Error(texts.testFailed(tried.operation, tried.status, tried.error));
      return texts.testWorked(tried.operation, tried.api_ms ?? 0);
    });
  return (
    <li class="card">
      <div class="heading">
        <h3>{connection.name}</h3>
        <span class={`tag ${isEnabled && connection.suspended_for === null ? "good" : "warning"}`}>
          {isEnabled ? texts.enabled : texts.disabled}
        </span>
      </div>
      {connection.suspended_for !== null && <Notice kind="warning">{texts.suspended(connection.suspended_for)}</Notice>}
      <dl class="figures">
        <Figure name={texts.price}><Usdc of={exact(connection.price_usdc)} /></Figure>
        <Figure name={texts.health}>{connection.rests_s > 0 ? texts.rests(standingNames[connection.health], connection.rests_s) : standingNames[connection.health]}</Figure>
        <Figure name={texts.operations}>{formatCount(connection.operations.length)}</Figure>
      </dl>
      <p class="quiet">
        {texts.calledAt} <code>{connection.url}</code> <Copy text={connection.url} what={texts.copyUrl} />
      </p>
      <details>
        <summary>{texts.whatIsSold}</summary>
        <ul>
          {connection.operations.map((name) => (
            <li key={name}><code>{name}</code></li>
          ))}
        </ul>
      </details>
      <div class="actions">
        <button type="button" class="small" disabled={task.isBusy} onClick={() => change({ status: isEnabled ? "disabled" : "enabled" })}>
          {isEnabled ? texts.disable : texts.enable}
        </button>
        <button type="button" class="small" disabled={task.isBusy} onClick={test}>{texts.test}</button>
        <button type="button" class="small" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>{texts.status}</button>
        <button
          type="button"
          class="small danger"
          disabled={task.isBusy}
          onClick={() =>
            window.confirm(texts.deleteAsk(connection.name)) &&
            act(async () => void (await api.delete("/v1/seller/connections/{connection_id}", path)))
          }
        >
          {texts.delete}
        </button>
      </div>
      <TaskSaid task={task} />
      {isOpen && (
        <>
          <Status connection={connection} />
          <Reprice change={change} isBusy={task.isBusy} />
        </>
      )}
    </li>
  );
}

function Status({ connection }: { readonly connection: View }) {
  const path = { path: { connection_id: connection.id } };
  const calls = `/v1/seller/connections/${encodeURIComponent(connection.id)}/calls`;
  const status = useRemote(connection.id, (signal) => api.get("/v1/seller/connections/{connection_id}/status", { ...path, signal }), 30_000);
  return (
    <Shown of={status}>
      {(data) => (
        <>
          {data.warnings.map((warning) => (
            <Notice key={warning} kind="warning">{warning}</Notice>
          ))}
          <p class="quiet">{texts.period(formatTime(data.starts_at), formatTime(data.resets_at), data.days_to_reset)}</p>
          <dl class="figures">
            <Figure name={texts.quota}>{formatCount(data.quota)} {data.unit}</Figure>
            <Figure name={texts.reserved} hint={texts.bufferOf(formatCount(data.buffer))}>{formatCount(data.reserved)}</Figure>
            <Figure name={texts.sold}>{formatCount(data.sold)}</Figure>
            <Figure name={texts.ownUse}>{formatCount(data.own_use)}</Figure>
            <Figure name={texts.left} hint={texts.leftHint}>{formatCount(data.left)}</Figure>
            <Figure name={texts.revenue}><Usdc of={exact(data.revenue_usdc)} /></Figure>
            <Figure name={texts.fee}><Usdc of={exact(data.fee_usdc)} /></Figure>
            <Figure name={texts.share}><Usdc of={exact(data.your_share_usdc)} /></Figure>
            <Figure name={texts.subscription}><Usdc of={-exact(data.subscription_usdc)} /></Figure>
            <Figure name={texts.net}><Usdc of={exact(data.net_usdc)} /></Figure>
          </dl>
          {data.source_price_usdc !== null && <p>{texts.sourcePrice(formatUsdc(exact(data.source_price_usdc)))}</p>}
          {data.flags.map((flag) => (
            <Notice key={`${flag.account_id} ${flag.flagged_at}`} kind="warning">
              {texts.flagged(flag.account_id, flag.reason, flag.detail, formatTime(flag.flagged_at))}
            </Notice>
          ))}
          <CsvButton name="calls.csv" label={texts.calls} list={calls} csv={`${calls}.csv`} />
        </>
      )}
    </Shown>
  );
}

function Reprice({ change, isBusy }: { readonly change: (body: Record<string, unknown>) => void; readonly isBusy: boolean }) {
  const [price, setPrice] = useState("");
  const [reserved, setReserved] = useState("");
  const body = { ...(price === "" ? {} : { price_usd: price }), ...(reserved === "" ? {} : { reserved: Number(reserved) }) };
  return (
    <form
      noValidate
      onSubmit={(event) => {
        event.preventDefault();
        if (Object.keys(body).length > 0) change(body);
      }}
    >
      <div class="pair">
        <TextField label={texts.newPrice} inputMode="decimal" value={price} onChange={setPrice} />
        <TextField label={texts.newReserve} inputMode="numeric" value={reserved} onChange={(text) => setReserved(text.replace(/\D/g, ""))} />
      </div>
      <button type="submit" class="small" disabled={isBusy || Object.keys(body).length === 0}>{texts.change}</button>
    </form>
  );
}
