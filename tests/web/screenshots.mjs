// Pictures of the pages, for people to look at and for the README: `tests/web/run BINARY screenshots
// DIR`. A small team that has used two models and bought a pack.
import { join } from "node:path";
import { openBrowser, openPage, signInByKey } from "./lib/browser.mjs";
import { MODEL, OPERATORS_KEY, Server } from "./lib/server.mjs";

const folder = process.argv[2];
const QWEN = "qwen2.5-coder-0.5b-instruct";
const server = await Server.start({ models: [MODEL, QWEN] });
const browser = await openBrowser();
const phone = { viewport: { width: 390, height: 844 } };

const key = await server.newAccount("design-team", 20_000);
await server.newUser("design-team", "noura@design.example");
const order = { pack: "value", provider: "manual" };
const { id } = await server.call(key, "/api/v1/topups", { method: "POST", body: order });
const paid = { amount_kwd: "5.000", reference: "NBK 20417" };
await server.call(OPERATORS_KEY, `/api/v1/admin/topups/${id}/confirm`, { method: "POST", body: paid });
for (const [model, content, max_tokens] of [
  [MODEL, "Name three uses of a scale.", 90],
  [QWEN, "Write a haiku about the sea.", 60],
  [MODEL, "What is a ledger?", 140],
  [QWEN, "Reverse a string in Rust.", 120],
]) {
  const body = { model, max_tokens, messages: [{ role: "user", content }] };
  await server.call(key, "/v1/chat/completions", { method: "POST", body });
}

/** One picture; `prepare` does what has to be seen. */
async function picture(name, hash, { as = key, options = {}, prepare } = {}) {
  const page = await openPage(browser, server, { deviceScaleFactor: 1.5, ...options });
  await signInByKey(page, server, as, hash);
  await page.waitForFunction(() => !document.querySelector(".skeleton"));
  await prepare?.(page);
  await page.waitForTimeout(1_500); // Charts, and two readings of what is live.
  await page.screenshot({ path: join(folder, `${name}.png`) });
  await page.context_.close();
}

async function chat(page) {
  await page.locator("select").selectOption(QWEN);
  await page.getByLabel("Longest answer").fill("160");
  await page.getByLabel("Message").fill("Write a Rust function that reverses a string, with a comment.");
  await page.getByLabel("Message").press("Enter");
  await page.locator("[data-credits]").waitFor();
  await page.getByRole("button", { name: "Again" }).waitFor();
}

await picture("home", "#/");
await picture("playground", "#/playground", { options: { colorScheme: "dark" }, prepare: chat });
await picture("billing", "#/billing");
await picture("billing-arabic", "#/billing", { options: { locale: "ar-KW" } });
await picture("home-phone-arabic-dark", "#/", { options: { ...phone, locale: "ar-KW", colorScheme: "dark" } });
await picture("usage-phone", "#/usage", { options: phone });
await picture("pricing", "#/pricing");
await picture("docs", "#/docs");
await picture("operator-models", "#/", { as: OPERATORS_KEY });
await picture("operator-ledger-dark", "#/ledger", { as: OPERATORS_KEY, options: { colorScheme: "dark" } });

await browser.close();
await server.stop();
