// Calls to the server. The cookie says who calls; the header says that this page does, which other
// sites can not send (it needs a CORS preflight that never allows credentials).
import { store } from "./store.js";

const OWN = { "x-mizan-dashboard": "1" };

/** Set when the server no longer knows the sign-in: the shell then shows the sign-in page. */
export const signedOut = store(false);

/** A refusal, in the API's words; `status` 0: the server could not be reached. */
export class ApiError extends Error {
  constructor(status, error, headers) {
    super(error.message);
    this.status = status;
    this.code = error.code ?? null;
    this.param = error.param ?? null;
    this.retryAfter = Number(headers?.get("retry-after")) || null;
    this.requestId = headers?.get("x-request-id") ?? null;
  }
}

/** The answer as it came. `body` is sent as JSON. Throws ApiError; an abort stays an AbortError. */
export async function request(path, { method = "GET", body, headers = {}, signal } = {}) {
  const json = body === undefined ? {} : { "content-type": "application/json" };
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: { ...OWN, ...json, ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "same-origin",
      signal,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { message: "", code: "unreachable" });
  }
  if (response.ok) return response;
  const told = await response.json().catch(() => null);
  const error = told?.error ?? { message: `${response.status} ${response.statusText}` };
  if (response.status === 401 && path !== "/api/v1/sessions/cookie") signedOut.set(true);
  throw new ApiError(response.status, error, response.headers);
}

/** The answer's JSON. */
export async function api(path, options) {
  const response = await request(path, options);
  return response.status === 204 ? null : response.json();
}

/** A path with those parameters that have a value. */
export function withQuery(path, parameters) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== undefined && value !== null && value !== "") query.set(name, value);
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

/** An id for `Idempotency-Key`: one for each thing that somebody wants, not for each try. */
export const newIdempotencyKey = () =>
  [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
