// The official client: chat and completions, plain and streamed, models, errors.

import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";

import { MODEL, checkedAccount, newAccount } from "./account.mjs";

const team = await checkedAccount("node-openai");
const client = new OpenAI(team.options);
const messages = [{ role: "user", content: "Name three primary colours." }];
const ask = { model: MODEL, messages, max_tokens: 20, temperature: 0 };

test("a plain answer, its usage and its headers", async () => {
  const before = await team.balance();
  const { data, response } = await client.chat.completions.create(ask).withResponse();
  assert.equal(data.object, "chat.completion");
  const [choice] = data.choices;
  assert.equal(choice.message.role, "assistant");
  assert.ok(choice.message.content);
  assert.equal(choice.message.refusal, null);
  assert.equal(choice.logprobs, null);
  assert.ok(!("tool_calls" in choice.message));
  const { usage } = data;
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
  assert.equal(usage.balance, before - usage.credits);
  assert.equal(response.headers.get("x-credits-charged"), String(usage.credits));
  assert.equal(response.headers.get("x-credits-balance"), String(usage.balance));
  assert.equal(data._request_id, response.headers.get("x-request-id"));
});

test("a stream says what the plain answer says", async () => {
  const plain = await client.chat.completions.create(ask);
  const stream = await client.chat.completions.create({
    ...ask,
    stream: true,
    stream_options: { include_usage: true },
  });
  const chunks = await Array.fromAsync(stream);
  const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
  assert.equal(text, plain.choices[0].message.content);
  assert.equal(chunks.filter((chunk) => chunk.choices[0]?.delta.role).length, 1);
  assert.equal(chunks.at(-2).choices[0].finish_reason, plain.choices[0].finish_reason);
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.equal(chunks.at(-1).usage.completion_tokens, plain.usage.completion_tokens);
});

test("no usage anywhere unless asked for", async () => {
  const stream = await client.chat.completions.create({ ...ask, stream: true });
  const chunks = await Array.fromAsync(stream);
  assert.ok(chunks.every((chunk) => chunk.choices.length === 1 && !("usage" in chunk)));
});

test("the client's own collector puts the answer together", async () => {
  const runner = client.chat.completions.stream({
    ...ask,
    n: 2,
    seed: 3,
    temperature: 1,
    stream_options: { include_usage: true },
  });
  const pieces = ["", ""];
  runner.on("chunk", ({ choices: [choice] }) => {
    if (choice) pieces[choice.index] += choice.delta.content ?? "";
  });
  const final = await runner.finalChatCompletion();
  assert.deepEqual(final.choices.map(({ message }) => message.content), pieces);
  assert.ok(final.choices.every(({ message }) => message.role === "assistant"));
  assert.ok(final.usage.completion_tokens > 0);
});

test("an answer of no token at all is collected too", async () => {
  // The end of the turn is the only token left.
  const runner = client.chat.completions.stream({ ...ask, logit_bias: { 2: 100 } });
  const final = await runner.finalChatCompletion();
  assert.equal(final.choices[0].message.content, "");
  assert.equal(final.choices[0].finish_reason, "stop");
});

test("log probabilities join to the text's bytes", async () => {
  const answer = await client.chat.completions.create({ ...ask, logprobs: true, top_logprobs: 2 });
  const [{ message, logprobs }] = answer.choices;
  const bytes = Buffer.from(logprobs.content.flatMap((entry) => entry.bytes));
  assert.equal(bytes.toString(), message.content);
  assert.equal(logprobs.content.length, answer.usage.completion_tokens);
  assert.ok(logprobs.content.every((entry) => entry.top_logprobs.length === 2));
});

test("completions, plain and streamed", async () => {
  const prompt = { model: MODEL, prompt: "One, two, three,", max_tokens: 8, temperature: 0 };
  const plain = await client.completions.create(prompt);
  assert.equal(plain.object, "text_completion");
  const stream = await client.completions.create({ ...prompt, stream: true });
  const chunks = await Array.fromAsync(stream);
  const text = chunks.map((chunk) => chunk.choices[0].text).join("");
  assert.equal(text, plain.choices[0].text);
});

test("models", async () => {
  const ids = [];
  for await (const model of client.models.list()) ids.push(model.id);
  assert.ok(ids.includes(MODEL));
  assert.equal((await client.models.retrieve(MODEL)).object, "model");
});

test("every error is the client's own class, in OpenAI's shape", async () => {
  const cases = [
    [{ ...ask, model: "no-such-model" }, OpenAI.NotFoundError, "model", "model_not_found"],
    [{ ...ask, temperature: 7 }, OpenAI.BadRequestError, "temperature", null],
    [{ ...ask, messages: [] }, OpenAI.BadRequestError, "messages", null],
  ];
  for (const [body, Kind, param, code] of cases) {
    await assert.rejects(client.chat.completions.create(body), (error) => {
      assert.ok(error instanceof Kind, String(error));
      assert.deepEqual([error.param, error.code], [param, code]);
      assert.equal(error.type, "invalid_request_error");
      assert.ok(error.requestID);
      return true;
    });
  }
  const stranger = new OpenAI({ ...team.options, apiKey: "mz-wrong" });
  await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
  const body = { ...ask, messages: [{ role: "user", content: "a".repeat(3_000_000) }] };
  await assert.rejects(stranger.chat.completions.create(body), OpenAI.AuthenticationError);
});

test("an empty balance is 402, at once", async () => {
  const poor = await newAccount("node-poor", 1);
  const client = new OpenAI({ ...poor.options, maxRetries: 5 });
  await client.chat.completions.create({ ...ask, max_tokens: 1 });
  const started = Date.now();
  await assert.rejects(client.chat.completions.create(ask), (error) => {
    assert.equal(error.status, 402);
    assert.equal(error.code, "credit_balance_exhausted");
    return true;
  });
  assert.ok(Date.now() - started < 400, "the first wait alone is longer");
});

test("a reader that leaves ends the generation", async () => {
  const newest = await team.newest();
  const long = { ...ask, max_tokens: 2000, ignore_eos: true, stream: true };
  let received = 0;
  for await (const _ of await client.chat.completions.create(long)) if (++received === 5) break;
  const [request] = await team.since(newest);
  assert.ok(request.tokens_completion >= 4 && request.tokens_completion < 300);
});
