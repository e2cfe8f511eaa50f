/** A whole list as one CSV file: the server gives it by pages, and nothing of it may lack. */
import { type Http, browserHttp } from "../api/http.ts";
import { TaskSaid, useTask } from "./task.tsx";
import { common } from "../text.ts";

const PAGE = 1_000;

export interface Csv {
  /** The list as JSON, which says where its next page begins. */
  readonly list: string;
  /** The same list as CSV, by the same pages. */
  readonly csv: string;
  readonly query?: Readonly<Record<string, string>>;
}

/** Returns all pages as one table with one header. Throws `RequestFailed`. */
export async function gatherCsv(http: Http, { list, csv, query = {} }: Csv): Promise<string> {
  let text = "";
  let cursor: string | null = null;
  do {
    const asked: URLSearchParams = new URLSearchParams({ ...query, limit: String(PAGE), ...(cursor === null ? {} : { cursor }) });
    const [said, table]: [Response, Response] = await Promise.all([
      http.send("GET", `${list}?${asked}`),
      http.send("GET", `${csv}?${asked}`, { headers: { accept: "text/csv" } }),
    ]);
    const part = await table.text();
    text += text === "" ? part : part.slice(part.indexOf("\n") + 1);
    cursor = ((await said.json()) as { next_cursor: string | null }).next_cursor;
  } while (cursor !== null);
  return text;
}

export function CsvButton({ name, label, ...of }: Csv & { readonly name: string; readonly label: string }) {
  const task = useTask();
  const download = () =>
    task.run(async () => {
      const url = URL.createObjectURL(new Blob([await gatherCsv(browserHttp, of)], { type: "text/csv" }));
      const link = document.createElement("a");
      link.href = url;
      link.download = name;
      link.click();
      URL.revokeObjectURL(url);
    });
  return (
    <>
      <button type="button" disabled={task.isBusy} onClick={() => void download()}>
        {task.isBusy ? common.gathering : label}
      </button>
      <TaskSaid task={task} />
    </>
  );
}
