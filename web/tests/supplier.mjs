/**
 * A company's journey on a running market: apply, confirm by mail, KYB, review, offer, dashboard; it reads
 * nothing but the pages and its mail. The reviewer of another browser does the same.
 *
 *     node web/tests/supplier.mjs '{"origin": …, "mails": …, "documents": …, "endpoint": …, "reviewer": …, "folder": null}'
 */
import { join } from "node:path";
import { beginJourney, readStorage } from "./journey.mjs";
import { waitForLink } from "./mail.mjs";

const wish = JSON.parse(process.argv[2]);
const { origin, mails, documents, endpoint } = wish;
const PASSWORD = "five calm otters sing";
const email = "ops@compute.example";
const { visit, look, walk } = await beginJourney(wish);

await walk(async () => {
  const { page, button, field } = await visit();
  await page.goto(`${origin}/supplier.html`);
  await field("Legal name of the company").fill("Compute <b>Müller</b> 計算 Pte. Ltd.");
  await page.reload();
  // What was filled in survives a reload.
  await page.waitForFunction(() => document.querySelector('input[name="legal_name"]')?.value.startsWith("Compute"));
  await field("Country").selectOption("SG");
  await field("Website").fill("https://compute.example");
  await field("Your name").fill("Ana Müller");
  await field("Work e-mail").fill(email);
  await field("Source of compute").selectOption("enterprise_contract");
  await field("Providers").fill("OpenAI, Anthropic");
  await field("Expected monthly tokens").fill("5M");
  await look(page, "apply");
  await button("Submit the application").click();
  await page.getByText("Look into your mail").waitFor();
  await look(page, "applied");

  await page.goto(await waitForLink(mails, "Confirm your e-mail address", email));
  await button("Confirm my address").click();
  await page.getByText("Your address is confirmed.").waitFor();
  await field("New password").fill(PASSWORD);
  await look(page, "sign-up");
  await button("Open the account").click();

  await page.getByRole("heading", { name: "Section 1: Business entity" }).waitFor();
  await look(page, "kyb-empty");
  await field("Registration number").fill("201912345K");
  await page.getByText(/^Saved, /).first().waitFor();
  await button("Add a person").click();
  await field("Legal name").last().fill("Ana Müller");
  await field("Nationality").selectOption("DE");
  await field("Share, in percent").fill("60");
  await field("ID number").fill("K 123-45.67 x");
  await page.getByText("Saved as a hash. Leave it empty to keep it.").waitFor();
  await field("Legal basis to resell").fill("Clause 4.2 of our contract permits to resell.");
  await page.getByRole("checkbox").check();
  await page.locator("#document-business_license").setInputFiles(join(documents, "broken.pdf"));
  await page.getByText("The document was not taken.").waitFor();
  await look(page, "document-refused");
  for (const [kind, name] of [["business_license", "license.pdf"], ["bank_proof", "bank.png"], ["tax_clearance", "tax.jpg"]]) {
    await page.locator(`#document-${kind}`).setInputFiles(join(documents, name));
    await page.getByText(new RegExp(`^${name} · `)).waitFor();
  }
  await page.getByText("All sections are green.").waitFor();
  await page.reload();
  // Every section has saved itself.
  await page.getByText("All sections are green.").waitFor();
  await look(page, "kyb-full");
  await button("Submit for review").click();
  await page.getByText("under_review").waitFor();
  await look(page, "kyb-under-review");

  const reviewer = await visit();
  await reviewer.page.goto(await waitForLink(mails, "You may review suppliers", wish.reviewer));
  await reviewer.field("New password").fill("seven quiet herons dive");
  await reviewer.button("Change the password").click();
  await reviewer.page.getByText("Your password is changed.").waitFor();
  // The mail's token stands in no address and in no history.
  if (/token/.test(reviewer.page.url())) throw new Error(reviewer.page.url());
  await reviewer.field("E-mail").fill(wish.reviewer);
  await reviewer.field("Password").fill("seven quiet herons dive");
  await reviewer.button("Sign in").click();
  await reviewer.page.getByRole("link", { name: email }).waitFor();
  await look(reviewer.page, "queue");
  await reviewer.page.getByRole("link", { name: email }).click();
  await reviewer.button("Show bank.png").click();
  await reviewer.page.getByAltText("The document bank.png").waitFor();
  await reviewer.button("Save license.pdf").click();
  await reviewer.page.getByText("Saved. Open it in a PDF reader").waitFor();
  await reviewer.field("Decision").selectOption("revise");
  await reviewer.field("What it is about").selectOption("documents.bank_proof");
  await reviewer.field("Text for the applicant").fill("The holder's <i>name</i> is not readable.");
  await reviewer.field("For reviewers only (optional)").fill("looks retouched");
  await look(reviewer.page, "application");
  await reviewer.button("Ask for a revision").click();
  await reviewer.page.getByText("For reviewers only: looks retouched").waitFor();

  await page.goto(await waitForLink(mails, "KYB: please revise 1 item", email));
  await page.getByText("The holder's <i>name</i> is not readable.").first().waitFor();
  await look(page, "kyb-revision");
  if ((await page.content()).includes("looks retouched")) throw new Error("the applicant sees what is for reviewers");
  await page.locator("#document-bank_proof").setInputFiles(join(documents, "tax.jpg"));
  await page.getByText(/^tax.jpg · /).nth(1).waitFor();
  await field("Legal basis to resell").fill("Clause 4.2 and annex B of our contract permit to resell.");
  await page.getByText(/^Saved, /).nth(2).waitFor();
  await button("Submit for review").click();
  await page.getByText("under_review").waitFor();

  await reviewer.page.reload();
  await reviewer.page.getByText("changed in this version").first().waitFor();
  await look(reviewer.page, "versions");
  await reviewer.field("Decision").selectOption("approve");
  await reviewer.button("Approve").click();
  await reviewer.page.getByText("KYB approved").waitFor();

  await page.goto(await waitForLink(mails, "KYB approved", email));
  await page.getByRole("link", { name: "Add offer" }).click();
  await field("Models").fill("gpt-4o");
  await field("Base URL").fill(endpoint);
  await field("API key of the provider").fill("sk-provider");
  await field("Bid price, USDT for 1M tokens").fill("0.15");
  await button("Save the offer").click();
  await page.getByText(/^The probe of .* worked\.$/).waitFor();
  await page.getByText("The offer is in the routing pool.").waitFor();
  await look(page, "offer");

  return { storage: await readStorage(page) };
});
