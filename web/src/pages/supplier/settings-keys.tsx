/** API keys for programs: made with scopes, shown once, revoked. */
import { useState } from "preact/hooks";
import { type Schemas, api } from "../../api/market.ts";
import { supply } from "../../api/supply.ts";
import { formatTime } from "../../amounts.ts";
import { CheckField, TextField } from "../../app/fields.tsx";
import { Copy, Notice, Shown, Table } from "../../app/parts.tsx";
import { useRemote } from "../../app/remote.ts";
import { TaskSaid, useTask } from "../../app/task.tsx";
import { scopeNames, supplyKeyTexts as texts } from "../../text.ts";

export function ApiKeys() {
  const keys = useRemote("keys", (signal) => api.get("/v1/supply/keys", { signal }));
  const [issued, setIssued] = useState<string | null>(null);
  const task = useTask();
  const revoke = (key: Schemas["SupplyKeyView"]) =>
    task.run(async () => {
      await supply.delete("/v1/supply/keys/{key_id}", { path: { key_id: key.key_id } });
      keys.refresh();
    });
  return (
    <>
      <p>{texts.lead}</p>
      {issued !== null && (
        <Notice kind="good">
          <p>{texts.once}</p>
          <pre>{issued}</pre>
          <Copy text={issued} what={texts.copy} />{" "}
          <button type="button" class="small" onClick={() => setIssued(null)}>
            {texts.put}
          </button>
        </Notice>
      )}
      <NewKey
        done={(key) => {
          setIssued(key);
          keys.refresh();
        }}
      />
      <Shown of={keys}>
        {({ keys: all }) =>
          all.length === 0 ? (
            <p class="quiet">{texts.none}</p>
          ) : (
            <Table label={texts.title}>
              <thead>
                <tr>
                  <th scope="col">{texts.label}</th>
                  <th scope="col">{texts.scopes}</th>
                  <th scope="col">{texts.made}</th>
                  <th scope="col"><span class="hidden">{texts.actions}</span></th>
                </tr>
              </thead>
              <tbody>
                {all.map((key) => (
                  <tr key={key.key_id}>
                    <th scope="row">{key.label || texts.unnamed}</th>
                    <td>{key.scopes.join(", ")}</td>
                    <td>{formatTime(key.created_at)}</td>
                    <td>
                      {key.revoked_at === null ? (
                        <button type="button" class="small danger" disabled={task.isBusy} onClick={() => void revoke(key)}>
                          {texts.revoke}
                        </button>
                      ) : (
                        texts.revoked(formatTime(key.revoked_at))
                      )}
                    </td>
                  </tr>
                ))}
              </tbody>
            </Table>
          )
        }
      </Shown>
      <TaskSaid task={task} />
    </>
  );
}

function NewKey({ done }: { readonly done: (key: string) => void }) {
  const [label, setLabel] = useState("");
  const [scopes, setScopes] = useState<readonly string[]>(["offers:read", "offers:write"]);
  const task = useTask();
  const make = () =>
    task.run(async () => {
      const issued = await supply.post("/v1/supply/keys", { body: { label, scopes } });
      setLabel("");
      done(issued.api_key);
    });
  return (
    <details class="card">
      <summary>{texts.make}</summary>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void make();
        }}
      >
        <TextField label={texts.label} hint={texts.labelHint} value={label} onChange={setLabel} />
        <fieldset>
          <legend>{texts.scopes}</legend>
          {Object.entries(scopeNames).map(([scope, name]) => (
            <CheckField
              key={scope}
              label={name}
              value={scopes.includes(scope)}
              onChange={(is) => setScopes(is ? [...scopes, scope] : scopes.filter((one) => one !== scope))}
            />
          ))}
        </fieldset>
        <button type="submit" class="main" disabled={task.isBusy || scopes.length === 0}>
          {texts.makeIt}
        </button>
        <TaskSaid task={task} />
      </form>
    </details>
  );
}
