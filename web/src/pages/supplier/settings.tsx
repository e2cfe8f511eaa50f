/** A supplier's settings: where payouts go, the password, one-time codes, keys, sessions. */
import { orSignedOut } from "../../api/http.ts";
import { api } from "../../api/market.ts";
import { Foldable } from "../../app/parts.tsx";
import { useRemote } from "../../app/remote.ts";
import { settingTexts as texts } from "../../text.ts";
import { Addresses } from "./settings-addresses.tsx";
import { ApiKeys } from "./settings-keys.tsx";
import { Codes, Password, Sessions } from "./settings-account.tsx";
import { SignedIn } from "./signed-in.tsx";

export function Settings() {
  const account = useRemote("account", (signal) => orSignedOut(api.get("/v1/supply/account", { signal })));
  return (
    <SignedIn of={account}>
      {(data) => (
        <>
          <p class="quiet">{texts.signedInAs(data.email)}</p>
          <Addresses hasCodes={data.has_codes} />
          <Password />
          <Codes hasCodes={data.has_codes} changed={account.refresh} />
          <Foldable title={texts.keys}>
            <ApiKeys />
          </Foldable>
          <Foldable title={texts.sessions}>
            <Sessions />
          </Foldable>
        </>
      )}
    </SignedIn>
  );
}
