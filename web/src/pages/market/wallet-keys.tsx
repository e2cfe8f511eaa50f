/** Where a wallet is signed in, and which keys its programs have: each can be ended. */
import { type Schemas, api } from "../../api/market.ts";
import { formatTime } from "../../amounts.ts";
import { Shown } from "../../app/parts.tsx";
import { useRemote } from "../../app/remote.ts";
import { TaskSaid, useTask } from "../../app/task.tsx";
import { holderTexts as texts } from "../../text.ts";
import type { Role } from "./wallet-sign-in.tsx";

type Key = Schemas["KeyView"];

export function WalletKeys({ role, signedOut }: { readonly role: Role; readonly signedOut: () => void }) {
  const keys = useRemote(`${role} keys`, (signal) => api.get(`/v1/${role}/auth/keys`, { signal }));
  const task = useTask();
  const end = (key: Key) =>
    task.run(async () => {
      await api.delete(`/v1/${role}/auth/keys/{key_id}`, { path: { key_id: key.key_id } });
      if (key.is_current) signedOut();
      else keys.refresh();
    });
  const nowS = Date.now() / 1_000;
  return (
    <>
      <Shown of={keys}>
        {({ keys: all }) => (
          <ul>
            {all
              .filter((key) => key.revoked_at === null && (key.expires_at ?? Infinity) > nowS)
              .map((key) => (
                <li key={key.key_id}>
                  {key.is_current ? <strong>{texts.thisOne}</strong> : key.label || texts.unnamed}{" "}
                  <span class="quiet">
                    {texts.since(formatTime(key.created_at), key.expires_at === null ? texts.forEver : formatTime(key.expires_at))}
                  </span>{" "}
                  <button type="button" class="small" disabled={task.isBusy} onClick={() => void end(key)}>
                    {key.is_current ? texts.signOut : texts.endIt}
                  </button>
                </li>
              ))}
          </ul>
        )}
      </Shown>
      <TaskSaid task={task} />
    </>
  );
}
