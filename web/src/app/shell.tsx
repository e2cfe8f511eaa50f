/** What stands around every page: the way to the others, the page, and what the site is. */
import type { ComponentChildren } from "preact";
import { render } from "preact";
import { useEffect, useErrorBoundary, useRef } from "preact/hooks";
import { common } from "../text.ts";
import { Lazy, type Load } from "./lazy.tsx";
import { Problem } from "./parts.tsx";
import { catchLinks, usePlace } from "./router.ts";

export interface Page {
  /** The path; what follows it is the page's own. */
  readonly path: string;
  /** Its name in the navigation and in the window's title. */
  readonly name: string;
  readonly load: Load;
  /** Whether the navigation leads to it. */
  readonly isListed: boolean;
  /** False: its visitors sign in by mail, so the wallet is not offered beside it. */
  readonly isForWallets?: boolean;
}

/** When at the latest other pages are loaded, after the first is drawn. */
const IDLE_MS = 2_000;

export interface SiteProps {
  readonly name: string;
  readonly pages: readonly Page[];
  /** Beside the navigation on pages for wallets: who is connected. */
  readonly aside?: ComponentChildren;
  readonly foot?: ComponentChildren;
}

/** Returns the page of a path, and what follows; null where there is none. */
export function findPage<P extends { readonly path: string }>(
  pages: readonly P[],
  path: string,
): { readonly page: P; readonly rest: readonly string[] } | null {
  for (const page of pages) {
    if (path === page.path) return { page, rest: [] };
    if (page.path !== "/" && path.startsWith(`${page.path}/`)) {
      const rest = path.slice(page.path.length + 1).split("/");
      if (rest.length === 1 && rest[0] !== "") return { page, rest: rest.map(decodeURIComponent) };
    }
  }
  return null;
}

export function Shell({ name, pages, aside, foot }: SiteProps) {
  const place = usePlace();
  const found = findPage(pages, place.path);
  const main = useRef<HTMLElement>(null);
  const isFirst = useRef(true);
  useEffect(() => {
    document.title = found && found.page.path !== "/" ? `${found.page.name} · ${name}` : name;
    // A new page is read from its beginning; the first one is where the browser puts the reader.
    if (!isFirst.current) main.current?.focus({ preventScroll: true });
    isFirst.current = false;
  }, [found?.page.path]);
  useEffect(() => prepare(pages), [pages]);
  return (
    <div class="site" onClick={(event) => catchLinks(event, (path) => findPage(pages, path) !== null)}>
      <a class="skip" href="#main">
        {common.skip}
      </a>
      <header>
        <a class="brand" href="/">
          {name}
        </a>
        <nav aria-label={common.pages}>
          {pages
            .filter((page) => page.isListed)
            .map((page) => (
              <a key={page.path} href={page.path} aria-current={found?.page === page ? "page" : undefined}>
                {page.name}
              </a>
            ))}
        </nav>
        {aside && found?.page.isForWallets !== false && <div class="aside">{aside}</div>}
      </header>
      <main id="main" ref={main} tabIndex={-1}>
        {found ? (
          <Caught key={found.page.path}>
            <Lazy load={found.page.load} rest={found.rest} />
          </Caught>
        ) : (
          <p>{common.noSuchPage}</p>
        )}
      </main>
      <footer>
        {foot}
        <a href="/docs">{common.httpDocs}</a>
      </footer>
    </div>
  );
}

/** Loads the listed pages' scripts once the first page is there and nothing else is to do: a click then only draws. */
function prepare(pages: readonly Page[]): () => void {
  const { connection } = navigator as { connection?: { saveData?: boolean } };
  if (connection?.saveData) return () => {};
  const begin = (): void => {
    // One that fails is asked for again when it is clicked, and says so then.
    for (const page of pages) if (page.isListed) page.load().catch(() => {});
  };
  if (!("requestIdleCallback" in window)) {
    const timer = setTimeout(begin, IDLE_MS);
    return () => clearTimeout(timer);
  }
  const idle = requestIdleCallback(begin, { timeout: IDLE_MS });
  return () => cancelIdleCallback(idle);
}

/** A page that fails while it is drawn says so, and leaves the rest of the site as it is. */
function Caught({ children }: { readonly children: ComponentChildren }) {
  const [error, reset] = useErrorBoundary();
  if (error === undefined) return <>{children}</>;
  return <Problem title={common.pageFailed} error={error instanceof Error ? error : new Error(String(error))} again={reset} />;
}

/** Draws a site into the page. */
export function start(site: ComponentChildren): void {
  const root = document.getElementById("page");
  if (root) {
    root.replaceChildren();
    render(site, root);
  }
}
