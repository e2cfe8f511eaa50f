/** The market's site: buyers who compare, and sellers. */
import "./style.css";
import { type Page, Shell, start } from "./app/shell.tsx";
import { marketTexts } from "./text.ts";
import { WalletButton } from "./wallet/panel.tsx";
import { reconnect } from "./wallet/store.ts";

const pages: readonly Page[] = [
  { path: "/", name: marketTexts.market, isListed: true, load: () => import("./pages/market/market.tsx").then((m) => m.Market) },
  { path: "/evidence", name: marketTexts.evidence, isListed: false, load: () => import("./pages/market/evidence.tsx").then((m) => m.Evidence) },
  { path: "/sell", name: marketTexts.sell, isListed: true, load: () => import("./pages/market/sell.tsx").then((m) => m.Sell) },
  { path: "/resell", name: marketTexts.resell, isListed: true, load: () => import("./pages/resell/resell.tsx").then((m) => m.Resell) },
  { path: "/credit", name: marketTexts.credit, isListed: true, load: () => import("./pages/market/credit.tsx").then((m) => m.Credit) },
  { path: "/supplier.html", name: marketTexts.suppliers, isListed: true, isForWallets: false, load: () => import("./pages/supplier/apply.tsx").then((m) => m.Apply) },
  { path: "/login.html", name: marketTexts.login, isListed: false, isForWallets: false, load: () => import("./pages/supplier/login.tsx").then((m) => m.Login) },
  { path: "/supplier-kyb-intake.html", name: marketTexts.intake, isListed: false, isForWallets: false, load: () => import("./pages/supplier/intake.tsx").then((m) => m.Intake) },
  { path: "/supply-dashboard.html", name: marketTexts.dashboard, isListed: false, isForWallets: false, load: () => import("./pages/supplier/dashboard.tsx").then((m) => m.Dashboard) },
  { path: "/docs.html", name: marketTexts.formats, isListed: false, isForWallets: false, load: () => import("./pages/supplier/formats.tsx").then((m) => m.Formats) },
  { path: "/review", name: marketTexts.review, isListed: false, isForWallets: false, load: () => import("./pages/review/review.tsx").then((m) => m.Review) },
  { path: "/operator", name: marketTexts.operator, isListed: false, isForWallets: false, load: () => import("./pages/operator/operator.tsx").then((m) => m.Operator) },
];

reconnect();
start(<Shell name={marketTexts.site} pages={pages} aside={<WalletButton />} foot={<span>{marketTexts.foot}</span>} />);
