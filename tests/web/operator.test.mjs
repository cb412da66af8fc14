// What an operator does on its pages: accounts, payments, vouchers, models, the books.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, before, test } from "node:test";
import { closePage, openBrowser, openPage, signInAsUser, signInByKey } from "./lib/browser.mjs";
import { MODEL, OPERATORS_KEY, PASSWORD, Server } from "./lib/server.mjs";

let server, browser, key;

before(async () => {
  server = await Server.start();
  browser = await openBrowser();
  key = await server.newAccount("team", 1_000);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const account = (name) => server.call(OPERATORS_KEY, `/api/v1/admin/accounts/${name}`);

async function operator(hash) {
  const page = await openPage(browser, server);
  await signInByKey(page, server, OPERATORS_KEY, hash);
  return page;
}

/** The dialog that is open, filled in and sent. */
async function answer(page, values) {
  const dialog = page.getByRole("dialog");
  for (const [label, value] of Object.entries(values)) await dialog.getByLabel(label).fill(value);
  await dialog.locator("button[type=submit]").click();
  await dialog.waitFor({ state: "detached" });
}

test("an account is created, given credits, corrected, frozen and closed, all with reasons", async () => {
  const page = await operator("#/accounts");
  await page.getByRole("button", { name: "Create an account" }).click();
  await answer(page, { Name: "research" });
  await page.getByRole("heading", { name: "research", level: 1 }).waitFor();
  await page.getByRole("button", { name: "Grant credits" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Credits").fill("12.5");
  await dialog.getByLabel("Reason").fill("trial");
  await dialog.locator("button[type=submit]").click();
  await dialog.getByText("Give a whole number of credits.").first().waitFor();
  await answer(page, { Credits: "2,000", Reason: "trial" });
  await page.getByText("2,000").first().waitFor();
  await page.getByRole("button", { name: "Correct the balance" }).click();
  await answer(page, { Credits: "-500", Reason: "granted too much" });
  await page.getByText("1,500").first().waitFor();
  assert.equal((await account("research")).balance, 1_500);
  await page.getByRole("button", { name: "Freeze" }).click();
  await answer(page, {});
  await page.getByText("frozen", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Thaw" }).click();
  await answer(page, {});
  await page.getByText("open", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Close the account" }).click();
  await page.getByRole("dialog").getByLabel("Write research to confirm").fill("reserch");
  await page.getByRole("dialog").locator("button[type=submit]").click();
  await page.getByRole("dialog").getByText("That is another name.").first().waitFor();
  await answer(page, { "Write research to confirm": "research" });
  await page.getByText("closed", { exact: true }).waitFor();
  // All of it is in the audit, by this operator.
  await page.goto(`${server.origin}/#/audit?action=account`);
  await page.getByRole("cell", { name: "account.close" }).waitFor();
  await closePage(page);
});

test("a grant whose answer is lost is not made twice", async () => {
  const page = await operator("#/accounts/team");
  const before = (await account("team")).balance;
  let tries = 0;
  await page.route("**/grants", async (route) => {
    tries += 1;
    if (tries > 1) return route.continue();
    await route.fetch();
    return route.abort();
  });
  await page.getByRole("button", { name: "Grant credits" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Credits").fill("70");
  await dialog.getByLabel("Reason").fill("sorry");
  await dialog.locator("button[type=submit]").click();
  await dialog.getByRole("alert").waitFor();
  await answer(page, {});
  assert.equal(tries, 2);
  assert.equal((await account("team")).balance, before + 70);
  await server.call(OPERATORS_KEY, "/api/v1/admin/accounts/team/corrections", {
    method: "POST",
    body: { credits: -70, reason: "the tests count from 1,000" },
  });
  page.faults.splice(0, page.faults.length, ...page.faults.filter((f) => !/ERR_FAILED/.test(f)));
  await closePage(page);
});

test("an account's notices are set for it, and its users alone are shown", async () => {
  await server.newAccount("quiet", 0);
  await server.invite("quiet", "amal@quiet.example", "owner");
  await server.invite("team", "badr@team.example", "member");
  const page = await operator("#/accounts/quiet");
  await page.getByLabel("Tell the team when its balance is low").check();
  await page.getByLabel("When it falls below").fill("400");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("Saved").waitFor();
  const path = "/api/v1/admin/accounts/quiet/notices/low-balance";
  assert.equal((await server.call(OPERATORS_KEY, path)).data.below, 400);
  await page.getByRole("main").getByRole("link", { name: "Users" }).click();
  await page.getByRole("cell", { name: "amal@quiet.example", exact: true }).waitFor();
  assert.equal(await page.getByText("badr@team.example").count(), 0);
  await page.getByRole("link", { name: "All users" }).click();
  await page.getByRole("cell", { name: "badr@team.example", exact: true }).waitFor();
  await closePage(page);
});

test("a bank transfer is confirmed with what arrived, and not with anything else", async () => {
  const order = { pack: "starter", provider: "manual" };
  const { id } = await server.call(key, "/api/v1/topups", { method: "POST", body: order });
  const page = await operator("#/payments");
  await page.getByRole("row").filter({ hasText: "your confirmation" }).getByRole("link", { name: /Look/ }).click();
  await page.getByText(id).first().waitFor();
  await page.getByRole("button", { name: "Confirm the transfer" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Amount that arrived").fill("1.999");
  await dialog.getByLabel("The bank's reference").fill("NBK 1");
  await dialog.locator("button[type=submit]").click();
  await dialog.getByRole("alert").waitFor();
  assert.equal((await account("team")).balance, 1_000);
  await answer(page, { "Amount that arrived": "2.000" });
  await page.getByText("paid", { exact: true }).waitFor();
  assert.equal((await account("team")).balance, 6_000);

  await page.getByRole("button", { name: "Refund", exact: true }).click();
  await answer(page, { "Credits to take back": "1000", Reason: "ordered too much" });
  await page.getByText(/Refund of 0\.400 KWD/).waitFor();
  assert.equal((await account("team")).balance, 5_000);
  await page.goto(`${server.origin}/#/payments`);
  await page.getByRole("button", { name: /Settle/ }).click();
  await answer(page, { "The provider's reference": "NBK 2" });
  await page.getByText("Nothing waits for you.").waitFor();
  await page.goto(`${server.origin}/#/revenue`);
  await page.locator(".figure", { hasText: "Revenue" }).getByText("1.600 KWD").waitFor();
  page.faults.splice(0, page.faults.length, ...page.faults.filter((f) => !/status of 4/.test(f)));
  await closePage(page);
});

test("vouchers are shown once, are redeemable, and the rest can be voided", async () => {
  const page = await operator("#/vouchers");
  await page.getByRole("button", { name: "Make vouchers" }).click();
  await answer(page, { Batch: "fair", "Credits of each": "70", "How many": "3" });
  const codes = await page.locator(".voucher-sheet code").allInnerTexts();
  assert.equal(new Set(codes).size, 3);
  const download = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download CSV" }).click();
  assert.equal((await download).suggestedFilename(), "vouchers-fair.csv");
  const lines = (await readFile(await (await download).path(), "utf8")).split("\r\n");
  assert.deepEqual(lines, ["code,credits,batch", ...codes.map((code) => `${code},70,"fair"`)]);
  // On paper: the vouchers and nothing else.
  await page.emulateMedia({ media: "print" });
  assert.equal(await page.getByRole("button", { name: "Print" }).isVisible(), false);
  assert(await page.locator(".voucher-sheet code").first().isVisible());
  await page.emulateMedia({ media: "screen" });
  await page.getByRole("button", { name: "I have them" }).click();
  const redeem = (code) => server.call(key, "/api/v1/vouchers/redeem", { method: "POST", body: { code } });
  assert.equal((await redeem(codes[0])).credits, 70);
  await page.reload();
  await page.getByText("1 / 3").waitFor();
  await page.getByRole("button", { name: /Void the rest/ }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Void the rest" }).click();
  await page.getByText("voided").waitFor();
  await assert.rejects(redeem(codes[1]));
  await closePage(page);
});

test("models are loaded and unloaded, and the engine is seen at work", async () => {
  const busy = await server.newAccount("busy", 100_000);
  const page = await operator("#/");
  const row = page.getByRole("row").filter({ hasText: MODEL });
  await row.getByText("loaded", { exact: true }).waitFor();
  const messages = [{ role: "user", content: "Tell me a very long story." }];
  // Goes on for as long as this test may take, unless it is broken off.
  const body = { model: MODEL, messages, n: 16, max_tokens: 4_000, ignore_eos: true };
  const caller = new AbortController();
  const { signal } = caller;
  const asked = server.call(busy, "/v1/chat/completions", { method: "POST", body, signal });
  const brokenOff = assert.rejects(asked, { name: "AbortError" });
  await page.waitForFunction(() => Number(document.querySelector("[data-rate]")?.dataset.rate) > 1);
  // What is in use stays.
  await row.getByRole("button", { name: /Unload/ }).click();
  await page.getByRole("alert").waitFor();
  caller.abort();
  await brokenOff;
  await row.getByRole("button", { name: /Unload/ }).click();
  await row.getByText("on disk").waitFor();
  await row.getByRole("button", { name: /Load/ }).click();
  await row.getByText("loaded", { exact: true }).waitFor();
  page.faults.splice(0, page.faults.length, ...page.faults.filter((f) => !/status of 409/.test(f)));
  await closePage(page);
});

test("the books are checked on demand", async () => {
  const page = await operator("#/ledger");
  await page.locator(".code", { hasText: /[0-9a-f]{64}/ }).waitFor();
  await page.getByRole("button", { name: "Check now" }).click();
  await page.getByText("right", { exact: true }).waitFor();
  const { data } = await server.call(OPERATORS_KEY, "/api/v1/admin/ledger");
  assert.equal(data.verify.state, "ok");
  await page.getByText(data.chain.hash).waitFor();
  await closePage(page);
});

test("an operator who is a user has the same pages; a team's owner has none of them", async () => {
  await server.newUser(null, "boss@place.example", "operator");
  const page = await openPage(browser, server);
  await signInAsUser(page, server, "boss@place.example", PASSWORD, "#/accounts");
  await page.getByRole("link", { name: "team" }).waitFor();
  await closePage(page);
  await server.newUser("team", "owner@team.example");
  const other = await openPage(browser, server);
  // The account's page leads to its users, and not to everybody's.
  const third = await operator("#/accounts/team");
  await third.locator("main").getByRole("link", { name: "Users" }).click();
  await third.getByRole("cell", { name: "owner@team.example", exact: true }).waitFor();
  assert.equal(await third.getByRole("cell", { name: "boss@place.example", exact: true }).count(), 0);
  await third.getByRole("link", { name: "All users" }).click();
  await third.getByRole("cell", { name: "boss@place.example", exact: true }).waitFor();
  await closePage(third);
  await signInAsUser(other, server, "owner@team.example", PASSWORD, "#/accounts");
  await other.getByRole("heading", { name: "Home", level: 1 }).waitFor();
  const status = await other.evaluate(async () => (await fetch("/api/v1/admin/accounts")).status);
  assert.equal(status, 403);
  other.faults.splice(0, other.faults.length, ...other.faults.filter((f) => !/status of 403/.test(f)));
  await closePage(other);
});
