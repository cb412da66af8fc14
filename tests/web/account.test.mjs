// What people of an account do on its pages: come in, watch the balance, talk to a model.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  closePage, openBrowser, openPage, shownBalance, signInAsUser, signInByKey,
} from "./lib/browser.mjs";
import { MODEL, PASSWORD, Server } from "./lib/server.mjs";

let server, browser, key;

before(async () => {
  server = await Server.start();
  browser = await openBrowser();
  key = await server.newAccount("team", 5_000);
  await server.newUser("team", "owner@team.example");
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

test("an invitation is followed once, and leads in", async () => {
  const invitation = await server.invite("team", "new@team.example", "member");
  const page = await openPage(browser, server);
  await page.goto(`${server.origin}/#/invitation/${invitation}`);
  await page.getByLabel("New password").fill(PASSWORD);
  await page.getByLabel("The same once more").fill("something else");
  await page.getByRole("button", { name: "Set password" }).click();
  await page.getByText("The two are not the same.").waitFor();
  await page.getByLabel("The same once more").fill(PASSWORD);
  await page.getByRole("button", { name: "Set password" }).click();
  await page.getByRole("heading", { name: "Home", level: 1 }).waitFor();
  // A member spends and looks, and does not manage.
  const names = await page.locator("nav a").allInnerTexts();
  assert(names.includes("Playground") && names.includes("Usage"), names.join());
  assert(!names.includes("Keys") && !names.includes("Users"), names.join());
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("button", { name: "Sign in" }).waitFor();
  await closePage(page);

  const again = await openPage(browser, server);
  await again.goto(`${server.origin}/#/invitation/${invitation}`);
  await again.getByLabel("New password").fill(PASSWORD);
  await again.getByLabel("The same once more").fill(PASSWORD);
  await again.getByRole("button", { name: "Set password" }).click();
  await again.getByRole("alert").waitFor();
  // The refusal is what is tested; the browser notes it.
  again.faults.splice(0, again.faults.length, ...again.faults.filter((f) => !/status of 400/.test(f)));
  await closePage(again);
});

test("a wrong password is refused, and the cookie is out of reach of scripts", async () => {
  const page = await openPage(browser, server);
  await page.goto(server.origin);
  await page.getByRole("textbox", { name: "Name" }).fill("owner@team.example");
  await page.getByRole("textbox", { name: "Password" }).fill("wrong");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").waitFor();
  await page.getByRole("textbox", { name: "Password" }).fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Home", level: 1 }).waitFor();
  assert.equal(await page.evaluate(() => document.cookie), "");
  const [cookie] = await page.context_.cookies();
  assert(cookie.httpOnly && cookie.sameSite === "Strict", JSON.stringify(cookie));
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
  assert.equal(kept, "[{},{}]", "no secret is kept where scripts can read it");
  await closePage(page);
});

test("the balance falls while an answer streams to somebody else", async () => {
  const page = await openPage(browser, server);
  await signInAsUser(page, server, "owner@team.example", PASSWORD);
  await page.locator(".balance [data-balance]").waitFor();
  const first = await shownBalance(page);
  const response = await fetch(`${server.origin}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify({
      model: MODEL,
      stream: true,
      ignore_eos: true,
      max_tokens: 1_500,
      messages: [{ role: "user", content: "Count to a thousand." }],
    }),
  });
  const reader = response.body.getReader();
  let ended = false;
  const drained = (async () => {
    while (!(await reader.read()).done);
    ended = true;
  })();
  // Two different balances, both before the stream is over: it moves while it streams.
  const seen = new Set();
  while (!ended && seen.size < 2) {
    const now = await shownBalance(page);
    if (now < first && !ended) seen.add(now);
    await page.waitForTimeout(50);
  }
  assert.equal(seen.size, 2, `saw ${[...seen]} of ${first}`);
  await drained;
  const { data } = await server.call(key, "/api/v1/credits");
  await page.waitForFunction(
    (balance) => document.querySelector(".balance-chip [data-balance]").dataset.balance === balance,
    String(data.balance),
  );
  assert.equal(first - data.balance, 1_500);
  await page.getByRole("cell", { name: MODEL }).first().waitFor();
  await closePage(page);
});

test("the playground answers, and says what it cost", async () => {
  const page = await openPage(browser, server);
  await signInAsUser(page, server, "owner@team.example", PASSWORD, "#/playground");
  const before = (await server.call(key, "/api/v1/credits")).data.balance;
  await page.getByLabel("Longest answer").fill("20");
  await page.getByLabel("Message").fill("What is the capital of Kuwait?");
  await page.getByLabel("Message").press("Enter");
  const cost = page.locator("[data-credits]");
  await cost.waitFor();
  const paid = Number(await cost.getAttribute("data-credits"));
  const { data } = await server.call(key, "/api/v1/credits");
  assert(paid > 0 && paid <= 20, `${paid}`);
  assert.equal(before - data.balance, paid);
  assert.equal(await shownBalance(page), data.balance);
  // A user's answers are spent through a key of its own, which shows like any other.
  const keys = (await server.call(key, "/api/v1/keys")).data;
  assert.equal(keys.filter(({ label, usage }) => label === "Playground" && usage === paid).length, 1);

  await page.getByRole("button", { name: "As code" }).click();
  await page.getByText("Python", { exact: true }).click();
  const code = await page.getByRole("dialog").locator("pre").innerText();
  assert(code.includes(`base_url="${server.origin}/v1"`) && code.includes("What is the capital"), code);
  assert(code.includes("max_tokens=20"), code);
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "detached" });
  await closePage(page);
});

test("the chart of use turns from models to keys and back", async () => {
  const page = await openPage(browser, server);
  await server.call(key, "/v1/completions", {
    method: "POST",
    body: { model: MODEL, prompt: "One, two,", max_tokens: 4 },
  });
  await signInAsUser(page, server, "owner@team.example", PASSWORD);
  const head = page.locator(".chart-table thead");
  await page.locator(".chart-table summary").click();
  await head.getByText(MODEL).waitFor();
  await page.getByText("By key", { exact: true }).click();
  await head.getByText(MODEL).waitFor({ state: "detached" });
  await page.getByText("By model", { exact: true }).click();
  await head.getByText(MODEL).waitFor();
  await closePage(page);
});

test("an answer is stopped, and no more is charged", async () => {
  const page = await openPage(browser, server);
  await signInByKey(page, server, key, "#/playground");
  await page.getByLabel("Longest answer").fill("4000");
  await page.getByLabel("Message").fill("Write a very long story.");
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByText("tokens/s").waitFor();
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByRole("button", { name: "Send" }).waitFor();
  // The request ends in the books as well.
  let row;
  do {
    [row] = (await server.call(key, "/api/v1/generations?limit=1")).data;
  } while (row.status === "running");
  assert(row.tokens_completion < 4_000, JSON.stringify(row));
  await closePage(page);
});

test("everything turns to Arabic, from right to left, and stays so", async () => {
  const page = await openPage(browser, server);
  await signInAsUser(page, server, "owner@team.example", PASSWORD);
  await page.getByRole("button", { name: "العربية" }).click();
  await page.getByRole("heading", { name: "الرئيسية", level: 1 }).waitFor();
  assert.equal(await page.evaluate(() => document.documentElement.dir), "rtl");
  // The navigation stands on the right.
  const { x, width } = await page.locator("nav").first().boundingBox();
  assert.equal(Math.round(x + width), 1280);
  await page.reload();
  await page.getByRole("heading", { name: "الرئيسية", level: 1 }).waitFor();
  await page.getByRole("button", { name: "English" }).click();
  await page.getByRole("heading", { name: "Home", level: 1 }).waitFor();
  assert.equal(await page.evaluate(() => document.documentElement.dir), "ltr");
  await closePage(page);
});

test("whoever is signed out elsewhere is told, and comes back to the same page", async () => {
  const page = await openPage(browser, server);
  await signInAsUser(page, server, "owner@team.example", PASSWORD, "#/usage");
  await page.getByRole("heading", { name: "Usage", level: 1 }).waitFor();
  await page.context_.clearCookies();
  await page.getByText("You were signed out. Please sign in again.").waitFor();
  await page.getByRole("textbox", { name: "Name" }).fill("owner@team.example");
  await page.getByRole("textbox", { name: "Password" }).fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Usage", level: 1 }).waitFor();
  await closePage(page);
});

const OTHER = "other@elsewhere.example";

/** Says something in the playground that nobody else may read. */
async function saySecret(page) {
  await page.getByLabel("Longest answer").fill("4");
  await page.getByLabel("Message").fill("Our secret plan");
  await page.getByLabel("Message").press("Enter");
  await page.locator("[data-credits]").waitFor();
  await page.getByRole("button", { name: "Send" }).waitFor();
}

/** Signs in where the page stands, and sees in the playground whether anything is left. */
async function enterAndLook(page, name) {
  await page.getByRole("textbox", { name: "Name" }).fill(name);
  await page.getByRole("textbox", { name: "Password" }).fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.locator("#navigation").getByText(name).waitFor();
  await page.getByRole("link", { name: "Playground" }).click();
  await page.getByLabel("Message").waitFor();
  return page.getByText("Our secret plan").count();
}

test("who comes next to the same browser finds nothing of who was there before", async () => {
  await server.newAccount("elsewhere", 10);
  await server.newUser("elsewhere", OTHER);
  const page = await openPage(browser, server);
  await signInAsUser(page, server, "owner@team.example", PASSWORD, "#/playground");
  await saySecret(page);
  // A second page of the same browser goes with the first.
  const second = await page.context_.newPage();
  await second.goto(`${server.origin}/#/keys`);
  await second.getByRole("heading", { name: "Keys", level: 1 }).waitFor();
  await page.getByRole("button", { name: "Sign out" }).click();
  await second.getByRole("button", { name: "Sign in" }).waitFor();
  await page.getByRole("button", { name: "Sign in" }).waitFor();
  assert.equal(new URL(page.url()).hash, "", "nor where that was");
  assert.equal(await enterAndLook(page, OTHER), 0);
  await second.locator("#navigation").getByText(OTHER).waitFor();

  // A session that ended by itself leaves the page as it was, for the same one only.
  await saySecret(page);
  const look = async (name) => {
    await page.context_.clearCookies();
    await page.getByText("You were signed out. Please sign in again.").waitFor();
    return enterAndLook(page, name);
  };
  assert.equal(await look(OTHER), 1);
  assert.equal(await look("owner@team.example"), 0);
  await closePage(page);
});

test("a sign-out that does not reach the server is told", async () => {
  const page = await openPage(browser, server);
  await signInByKey(page, server, key);
  await page.route("**/api/v1/sessions/current", (route) => route.abort());
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.locator(".who").getByText("The server cannot be reached.").waitFor();
  await page.unroute("**/api/v1/sessions/current");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.getByRole("button", { name: "Sign in" }).waitFor();
  // The call that failed is what is tested; the browser notes it.
  page.faults.splice(0, page.faults.length, ...page.faults.filter((f) => !/ERR_FAILED/.test(f)));
  await closePage(page);
});

test("an answer that breaks off on the way does not look whole", async () => {
  const page = await openPage(browser, server);
  await signInByKey(page, server, key, "#/playground");
  const chunk = { choices: [{ index: 0, delta: { content: "Half an" }, finish_reason: null }] };
  const half = { contentType: "text/event-stream", body: `data: ${JSON.stringify(chunk)}\n\n` };
  await page.route("**/v1/chat/completions", (route) => route.fulfill(half));
  await page.getByLabel("Message").fill("Say something.");
  await page.getByLabel("Message").press("Enter");
  await page.getByText("Half an").waitFor();
  await page.getByRole("log").getByText("The server cannot be reached.").waitFor();

  // A question that was refused is not sent again with the next one.
  const refused = { status: 429, json: { error: { message: "Too many.", code: "rate_limit_exceeded" } } };
  await page.unroute("**/v1/chat/completions");
  await page.route("**/v1/chat/completions", (route) => route.fulfill(refused));
  await page.getByLabel("Message").fill("Refused?");
  await page.getByLabel("Message").press("Enter");
  await page.getByText("Too many.").waitFor();
  let sent;
  await page.unroute("**/v1/chat/completions");
  await page.route("**/v1/chat/completions", (route) => {
    sent = route.request().postDataJSON().messages;
    return route.fulfill(refused);
  });
  await page.getByLabel("Message").fill("And now?");
  await page.getByLabel("Message").press("Enter");
  await page.waitForFunction(() => document.querySelectorAll(".talk-log .problem").length === 3);
  assert.deepEqual(sent.map(({ role, content }) => [role, content]), [
    ["user", "Say something."], ["assistant", "Half an"], ["user", "And now?"],
  ]);
  page.faults.splice(0, page.faults.length, ...page.faults.filter((f) => !/status of 429/.test(f)));
  await closePage(page);
});
