// A browser that keeps an eye on the pages: whatever a test does, no page may ask another host for
// anything, break a policy, or leave an error behind.
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

/** Asking who is there, before anybody has signed in, is answered 401, and the browser says so. */
const EXPECTED = /status of 401/;

export async function openBrowser() {
  const executablePath = process.env.MIZAN_CHROMIUM;
  assert(executablePath, "there is no Chromium: install Debian's, or set MIZAN_CHROMIUM");
  // Containers run as root and have a small /dev/shm; the pages are our own.
  return chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
}

/** A page of its own context, watched. `allowed`: other origins that may be visited: a bank's. */
export async function openPage(browser, server, { allowed = [], ...options } = {}) {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 900 },
    locale: "en-GB",
    reducedMotion: "reduce",
    ...options,
  });
  const page = await context.newPage();
  const faults = [];
  const origins = [server.origin, ...allowed];
  context.on("request", (request) => {
    const { origin, protocol } = new URL(request.url());
    if (protocol === "data:" || protocol === "blob:") return;
    if (!origins.includes(origin)) faults.push(`asked ${request.url()}`);
  });
  page.on("pageerror", (error) => faults.push(`threw ${error.stack}`));
  page.on("console", (message) => {
    const isFault = ["error", "warning"].includes(message.type()) && !EXPECTED.test(message.text());
    if (isFault) faults.push(`printed ${message.text()}`);
  });
  // Those that a test provokes, it takes out itself.
  return Object.assign(page, { faults, context_: context });
}

/** Closes a page, and fails if it did what no page may. */
export async function closePage(page) {
  await page.context_.close();
  assert.deepEqual(page.faults, []);
}

/** By the form in English; in Arabic by the same fields, whatever they are called. */
export async function signInByKey(page, server, key, hash = "#/") {
  // Some pages, such as the documentation, do not ask who is there.
  await page.goto(`${server.origin}/#/sign-in`);
  await page.locator(".segmented label").last().click();
  await page.locator("form input").fill(key);
  await page.locator("form button[type=submit]").click();
  await page.locator("#navigation").waitFor({ state: "attached" });
  await page.goto(`${server.origin}/${hash}`);
}

export async function signInAsUser(page, server, name, password, hash = "#/") {
  await page.goto(`${server.origin}/${hash}`);
  await page.getByRole("textbox", { name: "Name" }).fill(name);
  await page.getByRole("textbox", { name: "Password" }).fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.locator("#navigation").waitFor({ state: "attached" });
}

/** The balance that the top of the page shows, as a number. */
export async function shownBalance(page) {
  return Number(await page.locator(".balance-chip [data-balance]").getAttribute("data-balance"));
}

/** What axe finds, as lines; empty: nothing that is serious. */
export async function seriousFindings(page) {
  // Not as a script of the page: its policy allows no such thing. The driver evaluates it.
  await page.evaluate(await readFile(AXE, "utf8"));
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  return serious.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html.slice(0, 160)}`));
}
