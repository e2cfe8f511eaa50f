/** The way to the next page of a list. */
import type { Pages } from "./pages.ts";
import { Problem } from "./parts.tsx";
import { common } from "../text.ts";

export function MoreButton<First, Item>({ pages }: { readonly pages: Pages<First, Item> }) {
  return (
    <>
      {pages.problem && <Problem error={pages.problem} />}
      {pages.hasMore && (
        <p>
          <button type="button" disabled={pages.isLoading} onClick={pages.loadMore}>
            {common.more}
          </button>
        </p>
      )}
    </>
  );
}
