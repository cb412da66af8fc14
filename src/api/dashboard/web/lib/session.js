// Who is signed in, and the balance that every page shows. One browser may serve several people: what
// one of them left in memory (a conversation, drafts, keys of unanswered orders) goes before the next.
import { api, signedOut } from "./api.js";
import { store } from "./store.js";

/** `/api/v1/me`; `null`: nobody; `undefined`: not known yet. */
export const me = store(undefined);

/** `{ balance, total_credits, total_usage }`, or `null` before it is read. */
export const credits = store(null);

/** Whose everything in this page's memory is: who is signed in, or was until the session ended. */
let owner = null;

/** The other pages of this browser, which have the same cookie. */
const others = new BroadcastChannel("mizan.people");

/** Asks who the cookie stands for. */
export async function recognise() {
  try {
    await enter((await api("/api/v1/me")).data);
  } catch (error) {
    if (error.status !== 401 && error.status !== 403) throw error;
    me.set(null);
  }
  signedOut.set(false);
}

/** Signs in with `{ name, password }` or `{ key }`. */
export async function signIn(credentials) {
  const { data } = await api("/api/v1/sessions/cookie", { method: "POST", body: credentials });
  others.postMessage("in");
  await enter(data);
  signedOut.set(false);
}

export async function signOut() {
  await api("/api/v1/sessions/current", { method: "DELETE" }).catch((error) => {
    if (error.status !== 401) throw error;
  });
  others.postMessage("out");
  await beginAnew();
}

async function enter(who) {
  if (owner && !isSame(who, owner)) await beginAnew();
  owner = who;
  credits.set(null);
  me.set(who);
}

const isSame = (a, b) => ["kind", "id", "account"].every((name) => a[name] === b[name]);

/** Loads the document again, at the first page, and so forgets all. Whoever waits for it waits on. */
function beginAnew() {
  me.set(null); // A browser may keep the page as it looks now, to go back to.
  location.replace("/");
  return new Promise(() => {});
}

/** Somebody may have come or gone while this page was not the one that was used. */
async function lookAgain() {
  if (!owner) return recognise();
  const { data } = await api("/api/v1/me").catch((error) => ({ data: error.status === 401 ? null : owner }));
  if (!data || !isSame(data, owner)) await beginAnew();
  else if (!me.get()) await recognise();
}

others.onmessage = () => lookAgain().catch(() => {}); // The next call tells what is wrong.
addEventListener("pageshow", (event) => event.persisted && lookAgain().catch(() => {}));

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
