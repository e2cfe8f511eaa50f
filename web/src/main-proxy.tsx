/** The proxy's site: depositors and buyers. */
import "./style.css";
import { type Page, Shell, start } from "./app/shell.tsx";
import { proxySite } from "./text.ts";
import { WalletButton } from "./wallet/panel.tsx";
import { reconnect } from "./wallet/store.ts";

const pages: readonly Page[] = [
  { path: "/", name: proxySite.home, isListed: false, load: () => import("./pages/proxy/home.tsx").then((m) => m.Home) },
  { path: "/deposit", name: proxySite.deposit, isListed: true, load: () => import("./pages/proxy/deposit.tsx").then((m) => m.Deposit) },
  { path: "/position", name: proxySite.position, isListed: true, load: () => import("./pages/proxy/position.tsx").then((m) => m.Position) },
  { path: "/keys", name: proxySite.keys, isListed: true, load: () => import("./pages/proxy/keys.tsx").then((m) => m.Keys) },
  { path: "/models", name: proxySite.models, isListed: true, load: () => import("./pages/proxy/models.tsx").then((m) => m.Models) },
  { path: "/usage", name: proxySite.usage, isListed: true, load: () => import("./pages/proxy/usage.tsx").then((m) => m.Usage) },
];

reconnect();
start(<Shell name={proxySite.name} pages={pages} aside={<WalletButton />} foot={<span>{proxySite.contracts}</span>} />);
