// Vercel's AI SDK with its provider for servers that speak as OpenAI's do.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateText, streamText } from "ai";

import { MODEL, checkedAccount, newAccount } from "./account.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false; // It finds settings that some models have no use for.

const team = await checkedAccount("node-ai");
const provider = (own) =>
  createOpenAICompatible({
    name: "mizan",
    baseURL: team.baseURL,
    apiKey: team.key,
    fetch: team.fetch,
    ...own,
  });
const mizan = provider();
const ask = {
  model: mizan(MODEL),
  prompt: "What is the capital of France?",
  maxOutputTokens: 16,
  temperature: 0,
  maxRetries: 0,
};

test("generateText", async () => {
  const answer = await generateText(ask);
  assert.ok(answer.text);
  assert.ok(["stop", "length"].includes(answer.finishReason));
  assert.ok(answer.usage.inputTokens > 0);
  assert.ok(answer.usage.outputTokens > 0 && answer.usage.outputTokens <= 16);
});

test("streamText, with usage if asked for and counted either way", async () => {
  const { text, usage } = await generateText(ask);
  for (const includeUsage of [true, false]) {
    const newest = await team.newest();
    const model = provider({ includeUsage })(MODEL);
    const stream = streamText({ ...ask, model });
    const parts = await Array.fromAsync(stream.textStream);
    assert.equal(parts.join(""), text);
    assert.ok(parts.length > 1);
    const told = (await stream.usage).outputTokens;
    assert.equal(told, includeUsage ? usage.outputTokens : undefined);
    const [record] = await team.since(newest);
    assert.equal(record.tokens_completion, usage.outputTokens);
  }
});

test("completion models", async () => {
  const model = mizan.completionModel(MODEL);
  const answer = await generateText({ ...ask, model, prompt: "One, two, three," });
  assert.ok(answer.text);
});

test("system prompts, history and parts", async () => {
  const answer = await generateText({
    ...ask,
    prompt: undefined,
    instructions: "Answer in one word.",
    messages: [
      { role: "user", content: [{ type: "text", text: "Which planet do we live on?" }] },
      { role: "assistant", content: [{ type: "text", text: "Earth" }] },
      { role: "user", content: "And its moon?" },
    ],
  });
  assert.ok(answer.text);
});

test("errors: the server's message, and whether trying again helps", async () => {
  const failure = async (options) => {
    try {
      await generateText({ ...ask, ...options });
    } catch (error) {
      assert.ok(APICallError.isInstance(error), String(error));
      return error;
    }
    return assert.fail("no error");
  };
  const unknown = await failure({ model: mizan("no-such-model") });
  assert.equal(unknown.statusCode, 404);
  assert.match(unknown.message, /no-such-model/);
  assert.equal(unknown.isRetryable, false);
  const wrong = await failure({ model: provider({ apiKey: "mz-wrong" })(MODEL) });
  assert.equal(wrong.statusCode, 401);
});

test("402 is not tried again", async () => {
  const poor = await newAccount("node-ai-poor", 1);
  const model = provider({ apiKey: poor.key, fetch: poor.fetch })(MODEL);
  await generateText({ ...ask, model, maxOutputTokens: 1 });
  let calls = 0;
  const counting = (...request) => {
    calls += 1;
    return fetch(...request);
  };
  const counted = provider({ apiKey: poor.key, fetch: counting })(MODEL);
  await assert.rejects(generateText({ ...ask, model: counted, maxRetries: 3 }), (error) => {
    assert.equal(error.statusCode, 402);
    assert.equal(error.isRetryable, false);
    return true;
  });
  assert.equal(calls, 1);
});

test("an aborted stream ends the generation", async () => {
  const newest = await team.newest();
  const controller = new AbortController();
  const stream = streamText({
    ...ask,
    prompt: "Write a long story about the sea.",
    maxOutputTokens: 2000,
    abortSignal: controller.signal,
    providerOptions: { mizan: { ignore_eos: true } },
  });
  let received = 0;
  for await (const _ of stream.textStream) if (++received === 5) controller.abort();
  const [record] = await team.since(newest);
  assert.ok(record.tokens_completion < 300);
});
