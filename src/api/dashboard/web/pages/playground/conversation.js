// The conversation of the playground: what was said, what is being said, and what it cost. It outlives
// the page, so that one can look at the billing and come back, but not the browser tab.
import { ApiError, request } from "../../lib/api.js";
import { readCredits, toldBalance } from "../../lib/session.js";
import { events } from "../../lib/events.js";
import { store } from "../../lib/store.js";

/** What the server is asked with; `null` leaves the choice to the model. */
export const settings = store({
  model: null,
  system: "",
  temperature: null,
  top_p: null,
  max_tokens: 512,
  seed: null,
});

/** `[{ role, content, reasoning, figures, error }]`, the oldest first. */
export const messages = store([]);

/** The AbortController of the answer that is being written, or `null`. */
export const running = store(null);

/** What of `said` a model is told: no question that failed, as models want questions and answers in turn. */
const told = (said) =>
  said.filter((message, n) => {
    const answer = message.role === "user" ? said[n + 1] : message;
    return !answer || answer.content;
  });

/** The body of the request that answers `said`, as it is sent and as it is shown as code. */
export function bodyOf(said) {
  const { model, system, ...chosen } = settings.get();
  const own = system.trim() ? [{ role: "system", content: system }] : [];
  const turns = told(said).map(({ role, content }) => ({ role, content }));
  const set = Object.entries(chosen).filter(([, value]) => value !== null && value !== "");
  return { model, messages: [...own, ...turns], ...Object.fromEntries(set) };
}

export const clear = () => {
  running.get()?.abort();
  messages.set([]);
};

export const stop = () => running.get()?.abort();

/** Says `text`, and has it answered. */
export const ask = (text) => answer([...messages.get(), { role: "user", content: text }]);

/** Has the last question answered again. */
export function again() {
  const said = [...messages.get()];
  while (said.length > 0 && said.at(-1).role === "assistant") said.pop();
  return said.length > 0 ? answer(said) : undefined;
}

async function answer(said) {
  if (running.get()) return;
  const controller = new AbortController();
  running.set(controller);
  const began = performance.now();
  let reply = { role: "assistant", content: "", reasoning: "", figures: null, error: null };
  const show = (change) => {
    reply = { ...reply, ...change };
    // A conversation that was cleared meanwhile stays cleared.
    if (running.get() === controller) messages.set([...said, reply]);
  };
  show({});
  try {
    await stream(bodyOf(said), controller.signal, began, (change) => show(change(reply)));
  } catch (error) {
    if (error.name === "AbortError") show({ figures: { ...reply.figures, finish: "stopped" } });
    else show({ error: error instanceof ApiError ? error : new ApiError(0, { message: "" }) });
  } finally {
    if (running.get() === controller) running.set(null);
    readCredits().catch(() => {}); // The balance is read every second anyway.
  }
}

/** Reads the answer and tells of each change as `change(reply) -> fields`. */
async function stream(body, signal, began, tell) {
  const streamed = {
    ...body,
    stream: true,
    stream_options: { include_usage: true, continuous_usage_stats: true },
  };
  const response = await request("/v1/chat/completions", { method: "POST", body: streamed, signal });
  let first = null;
  for await (const data of events(response)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw new ApiError(response.status, chunk.error, response.headers);
    const now = performance.now();
    const choice = chunk.choices[0];
    const { content = "", reasoning_content: thought = "" } = choice?.delta ?? {};
    if (first === null && (content || thought)) first = now;
    if (chunk.usage?.balance !== undefined) toldBalance(chunk.usage.balance);
    tell((reply) => ({
      content: reply.content + (content ?? ""),
      reasoning: reply.reasoning + (thought ?? ""),
      figures: figures(reply.figures, chunk, choice, { began, first, now }),
    }));
  }
  // Cut off on the way: what is missing is not the model's doing.
  throw new ApiError(0, { message: "", code: "unreachable" });
}

/** What is known of an answer's cost and speed so far. */
function figures(known, { usage }, choice, { began, first, now }) {
  const tokens = usage?.completion_tokens ?? known?.tokens ?? 0;
  // The last message of a stream only sums up: no token came with it.
  const seconds = first === null ? 0 : (choice ? now - first : known?.seconds * 1_000) / 1_000;
  return {
    ...known,
    tokens,
    seconds,
    perSecond: tokens > 1 && seconds > 0 ? (tokens - 1) / seconds : null,
    firstMs: first === null ? null : first - began,
    credits: usage?.credits ?? known?.credits ?? null,
    exhausted: usage?.credits_exhausted ?? false,
    finish: choice?.finish_reason ?? known?.finish ?? null,
  };
}
