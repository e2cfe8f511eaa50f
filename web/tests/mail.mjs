/** Mails that a test's mail server has put into a folder, as JSON. */
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { LIMIT_MS } from "./browser.mjs";

/** Returns the first link of the newest mail with a subject to an address, once it is there. */
export async function waitForLink(folder, subject, to) {
  for (const end = Date.now() + LIMIT_MS; Date.now() < end; await new Promise((resolve) => setTimeout(resolve, 50))) {
    const names = (await readdir(folder)).filter((name) => name.endsWith(".json")).sort().reverse();
    for (const name of names) {
      const mail = JSON.parse(await readFile(join(folder, name), "utf8"));
      if (mail.subject !== subject || mail.to !== to) continue;
      const link = /https?:\/\/\S+/.exec(mail.text);
      if (link) return link[0];
    }
  }
  throw new Error(`no mail ${JSON.stringify(subject)} to ${to}`);
}
