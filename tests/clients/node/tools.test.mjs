// Tool calls with the official client, Vercel's AI SDK and LangChain.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { tool as langChainTool } from "@langchain/core/tools";
import { ChatOpenAI } from "@langchain/openai";
import { generateText, streamText, tool } from "ai";
import OpenAI from "openai";
import { zodFunction } from "openai/helpers/zod";
import { z } from "zod";

import { ABLE_MODEL, checkedAccount } from "./account.mjs";

const team = await checkedAccount("node-tools");
const client = new OpenAI(team.options);
const City = z.object({ city: z.enum(["Paris", "London"]) });
const messages = [{ role: "user", content: "What is the weather in Paris?" }];
const ask = {
  model: ABLE_MODEL,
  messages,
  max_tokens: 80,
  temperature: 0,
  tools: [zodFunction({ name: "get_weather", description: "Weather.", parameters: City })],
  tool_choice: "required",
};
const functions = ({ tool_calls }) =>
  tool_calls.map((call) => [call.function.name, call.function.arguments]);

test("a plain answer", async () => {
  const answer = await client.chat.completions.create(ask);
  const [{ message, finish_reason }] = answer.choices;
  assert.equal(finish_reason, "tool_calls");
  assert.equal(message.content, null);
  for (const call of message.tool_calls) {
    assert.ok(call.id && call.type === "function");
    assert.equal(call.function.name, "get_weather");
    City.parse(JSON.parse(call.function.arguments));
  }
});

test("the stream collector, which throws where a call changes", async () => {
  const plain = await client.chat.completions.create(ask);
  const runner = client.chat.completions.stream(ask);
  const done = [];
  runner.on("tool_calls.function.arguments.done", (event) => done.push(event));
  const final = await runner.finalChatCompletion();
  const [{ message, finish_reason }] = final.choices;
  assert.equal(finish_reason, "tool_calls");
  const expected = functions(plain.choices[0].message);
  assert.deepEqual(functions(message), expected);
  assert.equal(done.length, expected.length);
  City.parse(done[0].parsed_arguments);
});

test("a named tool", async () => {
  const tool_choice = { type: "function", function: { name: "get_weather" } };
  const answer = await client.chat.completions.parse({ ...ask, tool_choice });
  const [call] = answer.choices[0].message.tool_calls;
  City.parse(call.function.parsed_arguments);
});

test("the runner calls the tool and sends its result back", async () => {
  const asked = [];
  const runner = client.chat.completions.runTools(
    {
      ...ask,
      tool_choice: { type: "function", function: { name: "get_weather" } },
      tools: [
        zodFunction({
          name: "get_weather",
          parameters: City,
          function: ({ city }) => {
            asked.push(city);
            return "21 degrees";
          },
        }),
      ],
    },
    { maxChatCompletions: 2 },
  );
  await runner.done();
  assert.ok(asked.length >= 1);
  assert.ok(runner.messages.some((message) => message.role === "tool"));
});

const provider = createOpenAICompatible({
  name: "mizan",
  baseURL: team.baseURL,
  apiKey: team.key,
  fetch: team.fetch,
  includeUsage: true,
});
const settings = {
  model: provider(ABLE_MODEL),
  prompt: "What is the weather in Paris?",
  temperature: 0,
  maxOutputTokens: 80,
  maxRetries: 0,
  toolChoice: "required",
};
const get_weather = tool({
  description: "Tells the weather of a city.",
  inputSchema: City,
  execute: async ({ city }) => `21 degrees in ${city}`,
});

test("AI SDK: generateText", async () => {
  const answer = await generateText({ ...settings, tools: { get_weather } });
  assert.equal(answer.finishReason, "tool-calls");
  for (const call of answer.toolCalls) City.parse(call.input);
  assert.match(answer.toolResults[0].output, /^21 degrees/);
});

test("AI SDK: streamText", async () => {
  const plain = await generateText({ ...settings, tools: { get_weather } });
  const stream = streamText({ ...settings, tools: { get_weather } });
  const calls = await stream.toolCalls;
  assert.deepEqual(calls.map((call) => call.input), plain.toolCalls.map((call) => call.input));
  assert.equal(await stream.finishReason, "tool-calls");
  assert.equal((await stream.usage).outputTokens, plain.usage.outputTokens);
});

test("AI SDK: a named tool, and its result in the next question", async () => {
  const toolChoice = { type: "tool", toolName: "get_weather" };
  const first = await generateText({ ...settings, toolChoice, tools: { get_weather } });
  const said = [{ role: "user", content: settings.prompt }, ...first.response.messages];
  const second = await generateText({
    ...settings,
    prompt: undefined,
    toolChoice: "none",
    tools: { get_weather },
    messages: said,
  });
  assert.ok(second.text);
});

test("LangChain: bound tools, plain and streamed", async () => {
  const chat = new ChatOpenAI({
    model: ABLE_MODEL,
    temperature: 0,
    maxTokens: 80,
    maxRetries: 0,
    apiKey: team.key,
    configuration: { baseURL: team.baseURL, fetch: team.fetch },
  });
  const weather = langChainTool(async ({ city }) => `21 degrees in ${city}`, {
    name: "get_weather",
    description: "Tells the weather of a city.",
    schema: City,
  });
  const bound = chat.bindTools([weather], { tool_choice: "any" });
  const plain = await bound.invoke(settings.prompt);
  assert.ok(plain.tool_calls.length >= 1);
  let whole;
  for await (const chunk of await bound.stream(settings.prompt)) {
    whole = whole ? whole.concat(chunk) : chunk;
  }
  const inputs = (message) => message.tool_calls.map((call) => [call.name, call.args]);
  assert.deepEqual(inputs(whole), inputs(plain));
});
