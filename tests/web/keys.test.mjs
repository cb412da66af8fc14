// Keys, users, usage and the documentation: what is made on these pages works where it is used, and
// stops working when it is taken back.
import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import { closePage, openBrowser, openPage, signInAsUser, signInByKey } from "./lib/browser.mjs";
import { MODEL, OPERATORS_KEY, PASSWORD, Server } from "./lib/server.mjs";

let server, browser, team, key;
let count = 0;

before(async () => {
  server = await Server.start();
  browser = await openBrowser();
});

beforeEach(async () => {
  team = `team ${(count += 1)}`;
  key = await server.newAccount(team, 1_000);
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

/** What the API answers to a request with `secret`. */
const asked = (secret, body = {}) =>
  fetch(`${server.origin}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${secret}`, "content-type": "application/json" },
    body: JSON.stringify({
      model: MODEL,
      max_tokens: 7,
      ignore_eos: true,
      messages: [{ role: "user", content: "Hello" }],
      ...body,
    }),
  });

/** Takes refusals that a test provokes out of what the browser noted. */
const forgive = (page, status) =>
  page.faults.splice(0, page.faults.length, ...page.faults.filter((f) => !f.includes(`status of ${status}`)));

test("a key is made, its secret shown once, used, and revoked", async () => {
  const page = await openPage(browser, server);
  await signInByKey(page, server, key, "#/keys");
  await page.getByRole("button", { name: "New key" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Label").fill("the shop");
  await dialog.getByLabel("Spending limit (credits)").fill("some");
  await dialog.getByText("Give a whole number of credits.").waitFor();
  // Years of six digits are no days: a key without an end would be made.
  await dialog.getByLabel("Last day").fill("220277-03-11");
  await dialog.getByRole("button", { name: "Make the key" }).click();
  assert(!(await dialog.getByLabel("Last day").evaluate((input) => input.checkValidity())));
  await dialog.getByLabel("Last day").fill("");
  await dialog.getByLabel("Spending limit (credits)").fill("١٬٠٠٠");
  await dialog.getByLabel("Limit starts again").selectOption("daily");
  await dialog.getByLabel("Limit for life (credits)").fill("7");
  await dialog.getByRole("button", { name: "Make the key" }).click();
  await dialog.getByText("it is shown only this once").waitFor();
  const secret = await dialog.locator("pre").first().innerText();
  const line = await dialog.locator("pre").nth(1).innerText();
  assert(line.includes(`${server.origin}/v1/chat/completions`) && line.includes(secret), line);
  assert(line.includes(MODEL), line);
  await dialog.getByRole("button", { name: "I have stored it" }).click();
  await dialog.waitFor({ state: "detached" });
  assert(!(await page.content()).includes(secret), "the secret is gone with its dialog");

  assert.equal((await asked(secret)).status, 200);
  assert.equal((await asked(secret)).status, 402, "its limit for life is spent");
  await page.reload();
  const row = page.getByRole("row").filter({ hasText: "the shop" });
  await row.getByText("7 of 1,000 today").waitFor();
  await row.getByText("7 of 7 for life").waitFor();
  await row.getByText("Limit reached").waitFor();
  await row.getByRole("button", { name: "Revoke: the shop" }).click();
  await dialog.getByRole("button", { name: "Revoke" }).click();
  await page.getByText("1 revoked or expired key").waitFor();
  assert.equal((await asked(secret)).status, 401);
  await page.getByText("1 revoked or expired key").click();
  await page.getByRole("row").filter({ hasText: "the shop" }).getByText("Revoked").waitFor();
  await closePage(page);
});

test("nobody is offered more than they may do themselves, and members manage no keys", async () => {
  const body = { label: "manager", scopes: ["keys", "usage"] };
  const { secret } = await server.call(key, "/api/v1/keys", { method: "POST", body });
  const page = await openPage(browser, server);
  await signInByKey(page, server, secret, "#/keys");
  await page.getByRole("button", { name: "New key" }).click();
  const names = await page.getByRole("dialog").locator("fieldset b").allInnerTexts();
  assert.deepEqual(names, ["Usage", "Keys"]);
  await closePage(page);

  const name = `member@${count}.example`;
  await server.newUser(team, name, "member");
  const inside = await openPage(browser, server);
  await signInAsUser(inside, server, name, PASSWORD, "#/keys");
  // A page that is not theirs is not there: they land on the first one.
  await inside.getByRole("heading", { name: "Home", level: 1 }).waitFor();
  assert.equal(await inside.locator("nav a", { hasText: "Keys" }).count(), 0);
  await closePage(inside);
});

test("usage shows each request, and what it was", async () => {
  assert.equal((await asked(key)).status, 200);
  assert.equal((await asked(key, { max_tokens: 3 })).status, 200);
  const page = await openPage(browser, server, { acceptDownloads: true });
  await signInByKey(page, server, key, "#/usage");
  const figure = (label) => page.locator(".figure", { hasText: label }).locator("dd").first();
  await page.locator(".figure").first().waitFor();
  assert.equal(await figure("Requests").innerText(), "2");
  assert.equal(await figure("Credits").innerText(), "10");
  await page.getByRole("button", { name: /^Request of/ }).first().click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("3 tokens").waitFor();
  assert((await dialog.locator("pre").innerText()).length > 0, "the text is stored");

  const [download] = await Promise.all([
    page.waitForEvent("download"),
    dialog.getByRole("button", { name: "Signed receipt" }).click(),
  ]);
  assert.match(download.suggestedFilename(), /^mizan-receipt-\w+\.json$/);
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "detached" });

  // What is chosen stands in the address, and holds when the page is opened by it.
  await page.getByLabel("Ended").selectOption("stop");
  await page.getByText("No requests yet.").waitFor();
  assert((await page.evaluate(() => location.hash)).includes("finish=stop"));
  await page.getByLabel("Ended").selectOption("length");
  await page.getByText("2 requests are shown.").waitFor();
  await page.reload();
  assert.equal(await page.getByLabel("Ended").inputValue(), "length");
  const [csv] = await Promise.all([
    page.waitForEvent("download"),
    page.getByRole("link", { name: "Download CSV" }).last().click(),
  ]);
  assert.equal(await csv.failure(), null);
  // A sign-in that has ended makes no file of an error: it is asked for again.
  const files = [];
  page.on("download", (file) => files.push(file.suggestedFilename()));
  await page.context_.clearCookies();
  await page.getByRole("link", { name: "Download CSV" }).last().click();
  await page.getByRole("button", { name: "Sign in" }).waitFor();
  assert.deepEqual(files, []);
  forgive(page, 401);
  await closePage(page);
});

test("the operator sees the use of all accounts, and of one", async () => {
  assert.equal((await asked(key)).status, 200);
  const page = await openPage(browser, server);
  await signInByKey(page, server, OPERATORS_KEY, "#/usage");
  await page.getByLabel("Account", { exact: true }).first().selectOption(team);
  await page.getByText("1 request is shown.").waitFor();
  await page.getByRole("button", { name: /^Request of/ }).first().click();
  // What customers generate is theirs.
  await page.getByRole("dialog").getByText("The text is for the account alone.").waitFor();
  await closePage(page);
});

test("somebody is invited, comes in, gets another role, and is shut out", async () => {
  const page = await openPage(browser, server);
  await signInByKey(page, server, key, "#/users");
  const name = `sara@${count}.example`;
  await page.getByRole("button", { name: "Invite" }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Name").fill(name);
  await dialog.getByRole("button", { name: "Make the invitation" }).click();
  await dialog.getByText("Give this link to").waitFor();
  const address = await dialog.locator("pre").innerText();
  assert(address.startsWith(`${server.origin}/#/invitation/`), address);
  await dialog.getByRole("button", { name: "I have passed it on" }).click();
  const row = page.getByRole("row").filter({ hasText: name });
  await row.getByText("Invited").waitFor();

  const guest = await openPage(browser, server);
  await guest.goto(address);
  await guest.getByLabel("New password").fill(PASSWORD);
  await guest.getByLabel("The same once more").fill(PASSWORD);
  await guest.getByRole("button", { name: "Set password" }).click();
  await guest.getByRole("heading", { name: "Home", level: 1 }).waitFor();

  // The same name does not fit twice, and nothing that was typed is lost.
  await page.getByRole("button", { name: "Invite", exact: true }).click();
  await dialog.getByLabel("Name").fill(name);
  await dialog.getByRole("button", { name: "Make the invitation" }).click();
  await dialog.getByRole("alert").waitFor();
  assert.equal(await dialog.getByLabel("Name").inputValue(), name);
  await page.keyboard.press("Escape");
  forgive(page, 422);

  await page.getByRole("button", { name: `Change role: ${name}` }).click();
  await dialog.getByText("owner", { exact: true }).click();
  await dialog.getByRole("button", { name: "Save" }).click();
  await row.getByText("owner").waitFor();
  // An account keeps one who manages it.
  await page.getByRole("button", { name: `Disable: ${name}` }).click();
  await dialog.getByRole("button", { name: "Disable" }).click();
  await dialog.getByRole("alert").waitFor();
  await page.keyboard.press("Escape");
  forgive(page, 422);
  await server.newUser(team, `other@${count}.example`, "owner");
  await page.getByRole("button", { name: `Disable: ${name}` }).click();
  await dialog.getByRole("button", { name: "Disable" }).click();
  await row.getByText("Disabled").waitFor();
  await guest.getByText("You were signed out").waitFor();
  await closePage(guest);
  await closePage(page);
});

test("the documentation starts with what works on this server", async () => {
  const page = await openPage(browser, server);
  await page.goto(`${server.origin}/docs`);
  await page.getByRole("heading", { name: "Quick start" }).waitFor();
  assert((await page.locator("pre").first().innerText()).includes(`${server.origin}/v1/chat/completions`));
  await page.getByRole("link", { name: "Sign in", exact: true }).click();
  await page.getByRole("button", { name: "Sign in" }).waitFor();
  await signInByKey(page, server, key);
  await page.locator("nav a", { hasText: "API documentation" }).click();
  await page.getByRole("heading", { name: "Quick start" }).waitFor();
  await page.getByRole("button", { name: "Make a key" }).click();
  const field = page.getByLabel("Key for the examples");
  await page.waitForFunction(() => document.querySelector(".docs-filling input").value.startsWith("mz-"));
  const secret = await field.inputValue();
  assert.equal((await asked(secret)).status, 200);
  assert((await page.locator("pre").first().innerText()).includes(secret));

  await page.getByLabel("Search").fill("tokens of a prompt count");
  await page.getByText("Nothing is found.").waitFor();
  await page.getByLabel("Search").fill("count prompt");
  await page.getByRole("link", { name: /Count a prompt's tokens/ }).click();
  await page.getByRole("heading", { name: "Count a prompt's tokens" }).waitFor();
  const line = await page.locator("pre").first().innerText();
  assert(line.includes(secret) && line.includes("/v1/messages/count_tokens"), line);
  // Fields open to what they are made of.
  await page.getByRole("button", { name: /messages/ }).first().click();
  await page.locator(".docs-fields .docs-fields").getByText("role").first().waitFor();
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
  assert(!kept.includes(secret), "the key is kept in the page's memory only");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("button", { name: "Sign in" }).waitFor();
  await page.getByRole("link", { name: "API documentation" }).click();
  await page.getByLabel("Search").waitFor();
  assert(!(await page.content()).includes(secret), "it goes with who was signed in");
  await closePage(page);
});

test("every operation of the document can be shown", async () => {
  const page = await openPage(browser, server);
  await page.goto(`${server.origin}/#/docs`);
  await page.locator(".docs-groups a").first().waitFor();
  const links = page.locator(".docs-groups a");
  const hashes = await links.evaluateAll((all) => all.map((a) => a.getAttribute("href")));
  assert(hashes.length > 60, `${hashes.length}`);
  for (const hash of hashes.slice(1)) {
    await page.evaluate((to) => (location.hash = to), hash);
    await page.locator(`.docs-groups a[href="${hash}"][aria-current=page]`).waitFor();
    await page.locator("h2.docs-title").waitFor();
    const line = await page.locator("pre").first().innerText();
    assert(line.startsWith("curl") && line.includes(server.origin), `${hash}: ${line}`);
    assert(!/undefined|\[object/.test(await page.locator(".docs-content").innerText()), hash);
  }
  await closePage(page);
});

test("who takes the right to manage users from himself leaves their page", async () => {
  const [own, other] = ["own", "other"].map((who) => `${who}@${count}.example`);
  await server.newUser(team, own, "owner");
  await server.newUser(team, other, "owner");
  const page = await openPage(browser, server);
  await signInAsUser(page, server, own, PASSWORD, "#/users");
  await page.getByRole("button", { name: `Change role: ${own}` }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("member", { exact: true }).click();
  await dialog.getByRole("button", { name: "Save" }).click();
  await page.getByRole("heading", { name: "Home", level: 1 }).waitFor();
  assert.equal(await page.locator("nav a", { hasText: "Users" }).count(), 0);
  await closePage(page);
});
