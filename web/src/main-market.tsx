/** The market's site: buyers who compare, and sellers. */
import "./style.css";
import { type Page, Shell, start } from "./app/shell.tsx";
import { marketTexts } from "./text.ts";
import { WalletButton } from "./wallet/panel.tsx";
import { reconnect } from "./wallet/store.ts";

const pages: readonly Page[] = [
  { path: "/", name: marketTexts.market, isListed: true, load: () => import("./pages/market/market.tsx").then((m) => m.Market) },
  { path: "/sell", name: marketTexts.sell, isListed: true, load: () => import("./pages/market/sell.tsx").then((m) => m.Sell) },
];

reconnect();
start(<Shell name={marketTexts.site} pages={pages} aside={<WalletButton />} foot={<span>{marketTexts.foot}</span>} />);
