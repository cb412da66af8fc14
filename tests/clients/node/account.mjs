// One account of the server under test: its key, its books, and a `fetch` for the SDKs that takes
// down what their answers say. After each test of a file that makes an account, the books must
// tell the same as the wire did. `tests/clients/run` starts the server.

import assert from "node:assert/strict";
import { afterEach, beforeEach } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

export const MODEL = "smollm2-135m-instruct"; // The default one.
export const THINKER = "thinker"; // See thinker.toml beside the Python tests.
export const ABLE_MODEL = "qwen2.5-coder-0.5b-instruct"; // Was trained to call tools.

const origin = process.env.MIZAN_BASE_URL;
const PATIENCE = 20_000; // Milliseconds that a request may take to end once nobody reads it.

async function call(key, path, body) {
  const answer = await fetch(`${origin}/api/v1${path}`, {
    method: body ? "POST" : "GET",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: body && JSON.stringify(body),
  });
  const data = await answer.json();
  assert.ok(answer.ok, JSON.stringify(data));
  return data;
}

const operate = (path, body) => call(process.env.MIZAN_ADMIN_KEY, `/admin${path}`, body);

/** A new account with credits. */
export async function newAccount(name, credits) {
  await operate("/accounts", { name, plan: "team" });
  await operate(`/accounts/${name}/grants`, { credits, reason: "client tests" });
  const { secret } = await operate(`/accounts/${name}/keys`, { label: "client tests" });
  return new Account(secret);
}

/** The account of a file of tests: its books are checked after each of them. */
export async function checkedAccount(name) {
  const account = await newAccount(name, 100_000);
  let before;
  beforeEach(async () => {
    account.answers.length = 0;
    before = { balance: await account.balance(), newest: await account.newest() };
  });
  afterEach(() => account.check(before));
  return account;
}

class Account {
  answers = [];

  constructor(key) {
    this.key = key;
    this.baseURL = `${origin}/v1`;
  }

  /** For clients by OpenAI. No retries: a test must see the first answer. */
  get options() {
    return { baseURL: this.baseURL, apiKey: this.key, maxRetries: 0, fetch: this.fetch };
  }

  async balance() {
    return (await call(this.key, "/credits")).data.balance;
  }

  async generation(id) {
    return (await call(this.key, `/generations/${id}`)).data;
  }

  async newest() {
    return (await call(this.key, "/generations?limit=1")).data[0]?.id;
  }

  /** The requests made after that one, newest first, once all of them have ended. */
  async since(newest) {
    for (const started = Date.now(); ; await sleep(50)) {
      const { data } = await call(this.key, "/generations?limit=1000");
      const known = newest ? data.findIndex((row) => row.id === newest) : data.length;
      const rows = data.slice(0, known);
      if (rows.every((row) => row.status !== "running")) return rows;
      assert.ok(Date.now() - started < PATIENCE, "a meter stays open");
    }
  }

  /** Of each request since then: tokens told = tokens charged = tokens stored. */
  async check({ balance, newest }) {
    let spent = 0;
    for (const row of await this.since(newest)) {
      const tokens = row.status === "reversed" ? 0 : row.tokens_completion;
      assert.equal(row.credits, tokens * row.credit_multiplier);
      spent += row.credits;
    }
    assert.equal(balance - (await this.balance()), spent);
    for (const { id, usage } of this.answers) {
      const tokens = usage?.completion_tokens ?? usage?.output_tokens;
      if (tokens === undefined) continue;
      const record = await this.generation(id);
      assert.equal(record.tokens_completion, tokens);
      assert.equal(record.credits, tokens * record.credit_multiplier);
      const stored = record.choices.map((choice) => choice.token_ids.length);
      assert.equal(stored.reduce((sum, count) => sum + count, 0), tokens);
    }
  }

  fetch = async (input, init) => {
    const answer = await fetch(input, init);
    if (!answer.body) return answer;
    const taken = [];
    const { answers } = this;
    const tap = new TransformStream({
      transform(part, out) {
        taken.push(part);
        out.enqueue(part);
      },
      flush() {
        take(Buffer.concat(taken).toString(), answers);
      },
    });
    const { status, statusText, headers } = answer;
    return new Response(answer.body.pipeThrough(tap), { status, statusText, headers });
  };
}

/** The id and the usage that a plain or a streamed answer told of. */
function take(text, answers) {
  const events = [...text.matchAll(/^data: (\{.*\})$/gm)].map((match) => match[1]);
  const told = {};
  for (const message of (events.length ? events : [text]).map((json) => JSON.parse(json))) {
    // The object itself, or one that an event brings.
    for (const holder of [message, message.response, message.message]) {
      told.id ??= holder?.id;
      told.usage = holder?.usage ?? told.usage;
    }
  }
  if (told.id) answers.push(told);
}
