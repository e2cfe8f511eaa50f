/** Which page is shown: the path decides, and links change it without loading anew. */
import { useEffect, useState } from "preact/hooks";

export interface Place {
  readonly path: string;
  readonly query: URLSearchParams;
}

const watchers = new Set<() => void>();

function readPlace(): Place {
  return { path: window.location.pathname, query: new URLSearchParams(window.location.search) };
}

/** Goes to a path of this site. */
export function navigate(path: string): void {
  if (path !== window.location.pathname + window.location.search) window.history.pushState(null, "", path);
  window.scrollTo(0, 0);
  for (const watcher of watchers) watcher();
}

/** Returns the present place; the view is drawn again when it changes. */
export function usePlace(): Place {
  const [place, setPlace] = useState(readPlace);
  useEffect(() => {
    const watcher = (): void => setPlace(readPlace());
    watchers.add(watcher);
    window.addEventListener("popstate", watcher);
    return () => {
      watchers.delete(watcher);
      window.removeEventListener("popstate", watcher);
    };
  }, []);
  return place;
}

/** Lets plain links of this site change the place; everything else is left to the browser. */
export function catchLinks(event: MouseEvent, isOurs: (path: string) => boolean): void {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) {
    return;
  }
  const target = event.target instanceof Element ? event.target.closest("a[href]") : null;
  if (!(target instanceof HTMLAnchorElement) || target.target || target.hasAttribute("download")) return;
  const url = new URL(target.href);
  if (url.origin !== window.location.origin || !isOurs(url.pathname)) return;
  if (url.hash && url.pathname === window.location.pathname) return;
  event.preventDefault();
  navigate(url.pathname + url.search);
}
