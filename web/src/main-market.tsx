/** The market's site: sellers, suppliers, resale, reviewers. */
import "./style.css";
import { type Page, Shell, start } from "./app/shell.tsx";

const pages: readonly Page[] = [];

start(<Shell name="Current market" pages={pages} />);
