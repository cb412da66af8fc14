// LangChain's ChatOpenAI for Node: plain, streamed, errors.

import assert from "node:assert/strict";
import { test } from "node:test";

import { HumanMessage, SystemMessage } from "@langchain/core/messages";
import { ChatOpenAI } from "@langchain/openai";

import { MODEL, checkedAccount } from "./account.mjs";

const team = await checkedAccount("node-langchain");
const chat = (own) =>
  new ChatOpenAI({
    model: MODEL,
    temperature: 0,
    maxTokens: 16,
    maxRetries: 0,
    apiKey: team.key,
    configuration: { baseURL: team.baseURL, fetch: team.fetch },
    ...own,
  });
const question = [new SystemMessage("Answer shortly."), new HumanMessage("What is the sun?")];

test("invoke", async () => {
  const answer = await chat().invoke(question);
  assert.ok(answer.content);
  assert.ok(answer.usage_metadata.output_tokens > 0);
  assert.ok(["stop", "length"].includes(answer.response_metadata.finish_reason));
});

test("stream, with usage and without", async () => {
  const plain = await chat().invoke(question);
  for (const streamUsage of [true, false]) {
    let whole;
    for await (const chunk of await chat({ streamUsage }).stream(question)) {
      whole = whole ? whole.concat(chunk) : chunk;
    }
    assert.equal(whole.content, plain.content);
    const told = whole.usage_metadata?.output_tokens;
    assert.equal(told, streamUsage ? plain.usage_metadata.output_tokens : undefined);
  }
});

test("errors are the official client's", async () => {
  await assert.rejects(chat({ model: "no-such-model" }).invoke(question), { status: 404 });
  await assert.rejects(chat({ apiKey: "mz-wrong" }).invoke(question), { status: 401 });
});
