// Embeddings with the official client, which asks for base64, and with Vercel's AI SDK.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { OpenAIEmbeddings } from "@langchain/openai";
import { cosineSimilarity, embed, embedMany } from "ai";
import OpenAI from "openai";

import { MODEL, checkedAccount } from "./account.mjs";

const team = await checkedAccount("node-embeddings");
const client = new OpenAI(team.options);
const texts = ["A dog runs in the park.", "A puppy plays outside.", "Interest rates rose."];

test("base64 is float, and free", async () => {
  const before = await team.balance();
  const ask = { model: MODEL, input: texts };
  const [packed, plain] = await Promise.all([
    client.embeddings.create(ask),
    client.embeddings.create({ ...ask, encoding_format: "float" }),
  ]);
  assert.equal(packed.data.length, 3);
  for (const [index, { embedding }] of packed.data.entries()) {
    assert.ok(embedding.length >= 64);
    const other = plain.data[index].embedding;
    assert.ok(embedding.every((value, i) => Math.abs(value - other[i]) < 1e-6));
  }
  assert.ok(packed.usage.prompt_tokens > 3);
  assert.equal(await team.balance(), before);
});

test("AI SDK", async () => {
  const provider = createOpenAICompatible({
    name: "mizan",
    baseURL: team.baseURL,
    apiKey: team.key,
    fetch: team.fetch,
  });
  const model = provider.embeddingModel(MODEL);
  const { embeddings, usage } = await embedMany({ model, values: texts });
  const { embedding } = await embed({ model, value: texts[0] });
  assert.ok(cosineSimilarity(embedding, embeddings[0]) > 0.999);
  assert.ok(usage.tokens > 3);
});

test("LangChain", async () => {
  const embeddings = new OpenAIEmbeddings({
    model: MODEL,
    maxRetries: 0,
    apiKey: team.key,
    configuration: { baseURL: team.baseURL, fetch: team.fetch },
  });
  const [first, second] = await embeddings.embedDocuments(texts);
  assert.equal(first.length, second.length);
  assert.ok(cosineSimilarity(first, await embeddings.embedQuery(texts[0])) > 0.999);
});

test("errors", async () => {
  const unknown = { model: "no-such-model", input: "x" };
  await assert.rejects(client.embeddings.create(unknown), OpenAI.NotFoundError);
  const empty = { model: MODEL, input: [] };
  await assert.rejects(client.embeddings.create(empty), OpenAI.BadRequestError);
});
