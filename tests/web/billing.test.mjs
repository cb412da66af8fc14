// How an account gets credits on its pages: a pack through a payment provider, a bank transfer, a
// voucher; and what the receipt says.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { closePage, openBrowser, openPage, shownBalance, signInByKey } from "./lib/browser.mjs";
import { OPERATORS_KEY, Server } from "./lib/server.mjs";

let server, browser, key;
let count = 0;

before(async () => {
  server = await Server.start();
  browser = await openBrowser();
});

beforeEach(async () => {
  key = await server.newAccount(`team ${(count += 1)}`, 100);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

const balance = async () => (await server.call(key, "/api/v1/credits")).data.balance;

/** Waits until the page shows what the books have. */
async function balanceIs(page, expected) {
  await page.waitForFunction(
    (text) => document.querySelector(".balance-chip [data-balance]")?.dataset.balance === text,
    String(expected),
  );
  assert.equal(await balance(), expected);
}

/** Orders the pack of so many credits through that provider. */
async function buy(page, credits, provider) {
  await page.getByRole("button", { name: new RegExp(`Buy ${credits} credits`) }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText(provider).click();
  await dialog.locator("button[type=submit]").click();
}

test("a pack is bought on the provider's page, and the credits are there on return", async () => {
  const page = await openPage(browser, server, { allowed: [server.tap.origin] });
  await signInByKey(page, server, key, "#/billing");
  await buy(page, "15,000", "KNET or card (Tap)");
  await page.getByRole("heading", { name: "5 KWD" }).waitFor();
  assert.equal(await balance(), 100, "nothing is credited before it is paid");
  await page.getByRole("link", { name: "Pay" }).click();
  await page.getByRole("heading", { name: "Paid" }).waitFor();
  await page.getByRole("link").first().click();
  await balanceIs(page, 15_100);
  await page.getByRole("row").filter({ hasText: "15,000" }).getByText("Paid").waitFor();

  await page.getByRole("link", { name: /Receipt/ }).first().click();
  await page.getByRole("heading", { level: 1 }).waitFor();
  const receipt = page.locator("main");
  await receipt.getByText("5.000 KWD").first().waitFor();
  await receipt.getByText("15,000").first().waitFor();
  // On paper there is the receipt, and nothing to press.
  await page.emulateMedia({ media: "print" });
  assert.equal(await page.locator("#navigation").isVisible(), false);
  assert.equal(await page.getByRole("button", { name: /Print/ }).isVisible(), false);
  assert(await receipt.getByText("5.000 KWD").first().isVisible());
  await closePage(page);
});

test("a payment that is declined takes nothing and credits nothing", async () => {
  const page = await openPage(browser, server, { allowed: [server.tap.origin] });
  await signInByKey(page, server, key, "#/billing");
  await buy(page, "5,000", "KNET or card (Tap)");
  await page.getByRole("link", { name: "Decline" }).click();
  await page.getByRole("heading", { name: "Not paid" }).waitFor();
  await page.getByRole("link").first().click();
  await balanceIs(page, 100);
  await page.getByRole("row").filter({ hasText: "5,000" }).getByText("Failed").waitFor();
  await closePage(page);
});

test("a bank transfer is told how to make, and shows when the operator has confirmed it", async () => {
  const page = await openPage(browser, server);
  await signInByKey(page, server, key, "#/billing");
  await buy(page, "5,000", "Bank transfer");
  const [, id] = /order=(\w+)/.exec(await page.evaluate(() => location.hash)) ??
    (await page.waitForURL(/order=/), /order=(\w+)/.exec(page.url()));
  // The reference is what the operator finds the order by.
  await page.locator(".order pre", { hasText: id }).waitFor();
  await page.locator(".order blockquote", { hasText: "2.000" }).waitFor();
  const body = { amount_kwd: "2.000", reference: "bank 7" };
  await server.call(OPERATORS_KEY, `/api/v1/admin/topups/${id}/confirm`, { method: "POST", body });
  // Nobody touches the page: it follows the order by itself.
  await page.locator(".order").getByText("5,000 credits have been added").waitFor();
  await balanceIs(page, 5_100);
  await closePage(page);
});

test("a voucher is redeemed once, however it is written", async () => {
  const batch = { batch: "gifts", credits: 250, count: 2 };
  const { codes } = await server.call(OPERATORS_KEY, "/api/v1/admin/vouchers", {
    method: "POST",
    body: batch,
  });
  const page = await openPage(browser, server);
  await signInByKey(page, server, key, "#/billing");
  const code = page.getByLabel("Voucher code");
  const redeem = page.getByRole("button", { name: "Redeem" });
  await code.fill("2222-3333");
  await redeem.click();
  await page.getByText("A code has 16 characters").waitFor();
  await code.fill(codes[0].toLowerCase().replaceAll("-", " "));
  await redeem.click();
  await page.getByText("250 credits added. The balance is now 350.").waitFor();
  await balanceIs(page, 350);
  await code.fill(codes[0]);
  await redeem.click();
  await page.getByRole("alert").waitFor();
  assert.equal(await shownBalance(page), 350);
  assert.equal(await balance(), 350);
  // The refusal is what is tested; the browser notes it.
  page.faults.splice(0, page.faults.length, ...page.faults.filter((f) => !/status of 4/.test(f)));
  await closePage(page);
});

test("an order whose answer is lost is not made twice", async () => {
  const page = await openPage(browser, server);
  await signInByKey(page, server, key, "#/billing");
  let lost = 0;
  // The first answer gets lost on the way back: the order is made, and the page does not know.
  await page.route("**/api/v1/topups", async (route) => {
    if (route.request().method() !== "POST" || lost > 0) return route.continue();
    lost += 1;
    await route.fetch();
    return route.abort("connectionreset");
  });
  await buy(page, "5,000", "Bank transfer");
  const dialog = page.getByRole("dialog");
  await dialog.getByRole("alert").waitFor();
  await dialog.locator("button[type=submit]").click();
  await page.locator(".order").waitFor();
  const orders = (await server.call(key, "/api/v1/topups")).data;
  assert.equal(orders.length, 1, JSON.stringify(orders));
  page.faults.splice(0, page.faults.length, ...page.faults.filter((f) => !/ERR_CONNECTION/.test(f)));
  await closePage(page);
});

test("a notice of a low balance is set, and shows on the first page", async () => {
  const page = await openPage(browser, server);
  await signInByKey(page, server, key, "#/billing");
  await page.getByLabel("Tell me when the balance is low").check();
  await page.getByLabel(/When it falls below/).fill("1000");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("Below your threshold of 1,000").waitFor();
  await page.goto(`${server.origin}/#/`);
  await page.getByText("The balance is below 1,000 credits.").waitFor();
  await closePage(page);
});
