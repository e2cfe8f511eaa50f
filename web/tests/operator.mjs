/**
 * An operator looks at its page: alarms with what to do, figures, and an audit on demand.
 *
 *     node web/tests/operator.mjs '{"origin": …, "email": …, "password": …, "folder": null}'
 */
import { beginJourney } from "./journey.mjs";

const wish = JSON.parse(process.argv[2]);
const { origin, email, password } = wish;
const { visit, look, walk } = await beginJourney(wish);

await walk(async () => {
  const { page, button, field } = await visit();
  await page.goto(`${origin}/operator`);
  await page.getByRole("link", { name: "Sign in", exact: true }).click();
  await field("E-mail").fill(email);
  await field("Password").fill(password);
  await button("Sign in").click();
  await page.getByText("The chain's mirror is behind").waitFor();
  await button("Audit the ledger now").click();
  await page.getByText(/rows? breaks? an invariant/).waitFor();
  await look(page, "operator");
  return { text: await page.evaluate(() => document.body.innerText) };
});
