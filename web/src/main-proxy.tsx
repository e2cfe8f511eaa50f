/** The proxy's site: depositors and buyers. */
import "./style.css";
import { type Page, Shell, start } from "./app/shell.tsx";
import { proxySite } from "./text.ts";

const pages: readonly Page[] = [
  { path: "/", name: proxySite.home, isListed: false, load: () => import("./pages/proxy/home.tsx").then((m) => m.Home) },
];

start(<Shell name={proxySite.name} pages={pages} foot={<span>{proxySite.contracts}</span>} />);
