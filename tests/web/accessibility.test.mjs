// Every page as people meet it: in both themes, on a phone, in Arabic, by keyboard. The pages are
// those of the navigation, so that a new one is looked at without being listed here.
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { closePage, openBrowser, openPage, seriousFindings, signInByKey } from "./lib/browser.mjs";
import { MODEL, OPERATORS_KEY, Server } from "./lib/server.mjs";

const { accountPages, operatorPages } = await import(
  pathToFileURL(join(process.env.MIZAN_WEB, "pages.js"))
);
const LOOKS = {
  "light, on a desk": {},
  "dark, on a desk": { colorScheme: "dark" },
  "light, on a phone, in Arabic": { viewport: { width: 390, height: 844 }, locale: "ar-KW" },
};

let server, browser, key, purchase;

before(async () => {
  server = await Server.start();
  browser = await openBrowser();
  key = await server.newAccount("team", 5_000);
  await server.newUser("team", "owner@team.example");
  const order = { pack: "starter", provider: "manual" };
  purchase = await server.call(key, "/api/v1/topups", { method: "POST", body: order });
  const paid = { amount_kwd: "2.000", reference: "bank 1" };
  const confirm = `/api/v1/admin/topups/${purchase.id}/confirm`;
  await server.call(OPERATORS_KEY, confirm, { method: "POST", body: paid });
  await server.call(key, "/api/v1/topups", { method: "POST", body: order });
  const messages = [{ role: "user", content: "Hello" }];
  const body = { model: MODEL, messages, max_tokens: 5 };
  await server.call(key, "/v1/chat/completions", { method: "POST", body });
  await server.operate("voucher", "create", "--credits", 100, "--count", 3, "gifts");
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** Addresses of the pages, those that need an id with one. */
const addresses = (pages) =>
  pages.map(({ path }) => `#/${path}${path === "receipt" ? `/${purchase.id}` : ""}`);

/** Shows an address and waits until nothing is loading any more. */
async function show(page, hash) {
  await page.goto(`${server.origin}/${hash}`);
  await page.locator("h1").first().waitFor();
  await page.waitForFunction(() => !document.querySelector(".skeleton"));
}

async function check(page, hash) {
  const findings = await seriousFindings(page);
  assert.deepEqual(findings, [], hash);
  const { wide, frame } = await page.evaluate(() => ({
    wide: document.documentElement.scrollWidth,
    frame: document.documentElement.clientWidth,
  }));
  assert(wide <= frame, `${hash} is ${wide} px wide on ${frame} px`);
  const headings = await page.locator("h1:visible").count();
  assert.equal(headings, 1, `${hash} has ${headings} first headings`);
}

for (const [look, options] of Object.entries(LOOKS)) {
  test(`nobody is shut out of an account's pages: ${look}`, async () => {
    const page = await openPage(browser, server, options);
    await page.goto(server.origin);
    await page.locator("h1").waitFor();
    await check(page, "sign-in");
    await show(page, "#/invitation/none");
    await check(page, "#/invitation");
    await show(page, "#/docs");
    await check(page, "#/docs before signing in");
    await closePage(page);

    const inside = await openPage(browser, server, options);
    await signInByKey(inside, server, key);
    for (const hash of [...addresses(accountPages), `#/billing?order=${purchase.id}`]) {
      await show(inside, hash);
      await check(inside, hash);
    }
    await closePage(inside);
  });

  test(`nor of the operator's: ${look}`, async () => {
    const page = await openPage(browser, server, options);
    await signInByKey(page, server, OPERATORS_KEY);
    for (const hash of [...addresses(operatorPages), "#/accounts/team"]) {
      await show(page, hash);
      await check(page, hash);
    }
    await closePage(page);
  });
}

test("the whole navigation is reached and used by keyboard alone", async () => {
  const page = await openPage(browser, server);
  await signInByKey(page, server, key);
  await page.goto(`${server.origin}/#/`);
  await page.reload();
  await page.locator("h1").waitFor();
  await page.keyboard.press("Tab");
  // The first stop jumps over the navigation.
  await page.keyboard.press("Shift+Tab");
  await page.locator(".skip").focus();
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "content");
  await page.locator("nav a", { hasText: "Usage" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Usage", level: 1 }).waitFor();
  // What is new on the page is what a reader says next.
  assert.equal(await page.evaluate(() => document.activeElement.tagName), "H1");
  await closePage(page);
});

test("on a phone the navigation opens, leads on, and closes", async () => {
  const page = await openPage(browser, server, { viewport: { width: 390, height: 844 } });
  await signInByKey(page, server, key);
  const menu = page.getByRole("button", { name: "Menu" });
  assert.equal(await page.locator("#navigation").isVisible(), false);
  await menu.click();
  assert.equal(await menu.getAttribute("aria-expanded"), "true");
  await page.keyboard.press("Escape");
  assert.equal(await page.locator("#navigation").isVisible(), false);
  await menu.click();
  await page.locator("nav a", { hasText: "Keys" }).click();
  await page.getByRole("heading", { name: "Keys", level: 1 }).waitFor();
  assert.equal(await page.locator("#navigation").isVisible(), false);
  await closePage(page);
});
