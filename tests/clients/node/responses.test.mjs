// The Responses API with the official client.

import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

import { ABLE_MODEL, MODEL, checkedAccount } from "./account.mjs";

const team = await checkedAccount("node-responses");
const client = new OpenAI(team.options);
const ask = {
  model: MODEL,
  input: "What is the capital of France?",
  max_output_tokens: 16,
  temperature: 0,
};
const tools = [
  {
    type: "function",
    name: "get_weather",
    strict: true,
    parameters: {
      type: "object",
      properties: { city: { enum: ["Paris", "London"] } },
      required: ["city"],
      additionalProperties: false,
    },
  },
];

test("create, retrieve, go on, delete", async () => {
  const first = await client.responses.create(ask);
  assert.ok(first.output_text);
  assert.equal((await client.responses.retrieve(first.id)).output_text, first.output_text);
  const next = { ...ask, input: "And of Italy?", previous_response_id: first.id };
  const second = await client.responses.create(next);
  assert.equal(second.previous_response_id, first.id);
  assert.ok(second.usage.input_tokens > first.usage.input_tokens);
  await client.responses.delete(first.id);
  await assert.rejects(client.responses.retrieve(first.id), OpenAI.NotFoundError);
});

test("events in order", async () => {
  const plain = await client.responses.create(ask);
  const events = await Array.fromAsync(await client.responses.create({ ...ask, stream: true }));
  assert.deepEqual(events.map((event) => event.sequence_number), [...events.keys()]);
  assert.equal(events[0].type, "response.created");
  assert.equal(events.at(-1).type, `response.${plain.status}`);
  const text = events
    .filter((event) => event.type === "response.output_text.delta")
    .map((event) => event.delta)
    .join("");
  assert.equal(text, plain.output_text);
});

test("the client's own collector", async () => {
  const stream = client.responses.stream({
    ...ask,
    input: "Say only: hello",
    max_output_tokens: 60,
  });
  let text = "";
  stream.on("response.output_text.delta", (event) => (text += event.delta));
  const final = await stream.finalResponse();
  assert.equal(final.status, "completed");
  assert.equal(final.output_text, text);
});

test("parse", async () => {
  const Verdict = z.object({ colour: z.enum(["red", "green"]), is_sure: z.boolean() });
  const text = { format: zodTextFormat(Verdict, "verdict") };
  const answer = await client.responses.parse({ ...ask, max_output_tokens: 60, text });
  Verdict.parse(answer.output_parsed);
});

test("tools", async () => {
  const able = { ...ask, model: ABLE_MODEL, max_output_tokens: 80, tools };
  const answer = await client.responses.create({ ...able, tool_choice: "required" });
  const calls = answer.output.filter((item) => item.type === "function_call");
  assert.ok(calls.length >= 1);
  assert.ok(["Paris", "London"].includes(JSON.parse(calls[0].arguments).city));
  const stream = client.responses.stream({ ...able, tool_choice: "required" });
  const final = await stream.finalResponse();
  assert.equal(final.output[0].arguments, answer.output[0].arguments);
  const input = calls.map(({ call_id }) => ({
    type: "function_call_output",
    call_id,
    output: "21 degrees",
  }));
  const next = { ...able, input, previous_response_id: answer.id, tool_choice: "none" };
  assert.ok((await client.responses.create(next)).output_text);
});

test("errors", async () => {
  const unknown = { ...ask, model: "no-such-model" };
  await assert.rejects(client.responses.create(unknown), OpenAI.NotFoundError);
  const bad = { ...ask, temperature: 9 };
  await assert.rejects(client.responses.create(bad), OpenAI.BadRequestError);
  await assert.rejects(client.responses.retrieve("resp_none"), OpenAI.NotFoundError);
});
