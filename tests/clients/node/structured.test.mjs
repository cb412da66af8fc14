// Structured output with the official client and with Vercel's AI SDK.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { ChatOpenAI } from "@langchain/openai";
import { Output, generateText, streamText } from "ai";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

import { MODEL, checkedAccount } from "./account.mjs";

const team = await checkedAccount("node-structured");
const client = new OpenAI(team.options);
const Dog = z.object({
  size: z.enum(["small", "large"]),
  is_old: z.boolean(),
  tricks: z.array(z.enum(["sit", "roll"])).min(1).max(2),
});
const messages = [{ role: "user", content: "Describe a dog." }];
const format = zodResponseFormat(Dog, "dog");
const ask = {
  model: MODEL,
  messages,
  max_completion_tokens: 80,
  temperature: 0,
  response_format: format,
};
const provider = createOpenAICompatible({
  name: "mizan",
  baseURL: team.baseURL,
  apiKey: team.key,
  fetch: team.fetch,
  supportsStructuredOutputs: true,
});
const settings = { model: provider(MODEL), prompt: "Describe a dog.", temperature: 0 };

test("parse", async () => {
  const answer = await client.chat.completions.parse(ask);
  Dog.parse(answer.choices[0].message.parsed);
});

test("stream", async () => {
  const plain = await client.chat.completions.parse(ask);
  const final = await client.chat.completions.stream(ask).finalChatCompletion();
  assert.deepEqual(final.choices[0].message.parsed, plain.choices[0].message.parsed);
});

test("an answer that is cut is the client's own error", async () => {
  const cut = { ...ask, max_completion_tokens: 4 };
  await assert.rejects(client.chat.completions.parse(cut), OpenAI.LengthFinishReasonError);
});

test("a bad schema is a bad request that says where", async () => {
  const json_schema = { name: "bad", schema: { type: "elephant" }, strict: true };
  const bad = { ...ask, response_format: { type: "json_schema", json_schema } };
  await assert.rejects(client.chat.completions.create(bad), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.match(error.param, /^response_format\.json_schema\.schema/);
    return true;
  });
});

test("AI SDK: an object", async () => {
  const output = Output.object({ schema: Dog });
  const answer = await generateText({ ...settings, output, maxOutputTokens: 80 });
  Dog.parse(answer.output);
});

test("AI SDK: a streamed object", async () => {
  const output = Output.object({ schema: Dog });
  const stream = streamText({ ...settings, output, maxOutputTokens: 80 });
  const partial = await Array.fromAsync(stream.partialOutputStream);
  assert.ok(partial.length > 1);
  assert.deepEqual(Dog.parse(await stream.output), partial.at(-1));
});

test("AI SDK: a choice", async () => {
  const output = Output.choice({ options: ["sunny", "rainy"] });
  const answer = await generateText({ ...settings, output, maxOutputTokens: 40 });
  assert.ok(["sunny", "rainy"].includes(answer.output));
});

test("LangChain: with structured output", async () => {
  const chat = new ChatOpenAI({
    model: MODEL,
    temperature: 0,
    maxTokens: 80,
    maxRetries: 0,
    apiKey: team.key,
    configuration: { baseURL: team.baseURL, fetch: team.fetch },
  });
  const bound = chat.withStructuredOutput(Dog, { name: "dog", method: "jsonSchema" });
  Dog.parse(await bound.invoke("Describe a dog."));
});
