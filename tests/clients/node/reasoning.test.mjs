// Reasoning with Vercel's AI SDK, which reads one of the two names that servers use for it, and
// with the official client, which passes both on.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText } from "ai";
import OpenAI from "openai";

import { THINKER, checkedAccount } from "./account.mjs";

const team = await checkedAccount("node-reasoning");
const structured_outputs = { regex: "<think>\\n[a-z ]{8,24}\\n</think>\\n\\n(yes|no)" };
const provider = createOpenAICompatible({
  name: "mizan",
  baseURL: team.baseURL,
  apiKey: team.key,
  fetch: team.fetch,
  includeUsage: true,
});
const ask = {
  model: provider(THINKER),
  prompt: "Is the sky blue?",
  maxOutputTokens: 60,
  temperature: 0,
  maxRetries: 0,
  providerOptions: { mizan: { structured_outputs } },
};

test("AI SDK: generateText", async () => {
  const answer = await generateText(ask);
  assert.match(answer.reasoningText.trim(), /^[a-z ]+$/);
  assert.match(answer.text, /^(yes|no)$/);
  const { outputTokens, outputTokenDetails } = answer.usage;
  assert.ok(outputTokenDetails.reasoningTokens > 0);
  assert.ok(outputTokenDetails.reasoningTokens < outputTokens);
});

test("AI SDK: streamText, which doubles nothing", async () => {
  const plain = await generateText(ask);
  const stream = streamText(ask);
  let [thought, said] = ["", ""];
  for await (const part of stream.fullStream) {
    if (part.type === "reasoning-delta") thought += part.text;
    if (part.type === "text-delta") said += part.text;
  }
  assert.equal(thought, plain.reasoningText);
  assert.equal(said, plain.text);
});

test("the official client's collector", async () => {
  const client = new OpenAI(team.options);
  const final = await client.chat.completions
    .stream({
      model: THINKER,
      messages: [{ role: "user", content: ask.prompt }],
      max_tokens: 60,
      temperature: 0,
      structured_outputs,
    })
    .finalChatCompletion();
  assert.match(final.choices[0].message.content, /^(yes|no)$/);
});
