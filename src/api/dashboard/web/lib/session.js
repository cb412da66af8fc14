// Who is signed in, and the balance that every page shows.
import { api, signedOut } from "./api.js";
import { store } from "./store.js";

/** `/api/v1/me`; `null`: nobody; `undefined`: not known yet. */
export const me = store(undefined);

/** `{ balance, total_credits, total_usage }`, or `null` before it is read. */
export const credits = store(null);

/** Asks who the cookie stands for. */
export async function recognise() {
  try {
    enter((await api("/api/v1/me")).data);
  } catch (error) {
    if (error.status !== 401 && error.status !== 403) throw error;
    me.set(null);
  }
  signedOut.set(false);
}

/** Signs in with `{ name, password }` or `{ key }`. */
export async function signIn(credentials) {
  enter((await api("/api/v1/sessions/cookie", { method: "POST", body: credentials })).data);
  signedOut.set(false);
}

export async function signOut() {
  await api("/api/v1/sessions/current", { method: "DELETE" }).catch((error) => {
    if (error.status !== 401) throw error;
  });
  enter(null);
}

function enter(who) {
  credits.set(null);
  me.set(who);
}

export const isOperator = (who) => who?.role === "operator" || who?.kind === "operator";

/** Whether the one who is signed in may do what `scope` allows. */
export const may = (scope) => me.get()?.scopes?.includes(scope) ?? false;

/** Reads the balance now. */
export async function readCredits(signal) {
  const { data } = await api("/api/v1/credits", { signal });
  credits.set(data);
  return data;
}

/** A balance that came with an answer, before the next reading. */
export function toldBalance(balance) {
  const known = credits.get();
  if (known) credits.set({ ...known, balance, total_usage: known.total_credits - balance });
}
