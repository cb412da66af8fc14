// The days that are shown: those of the address, or the last thirty.
import { dayOf, lastDays } from "../../lib/days.js";

/** What the API sums up at most, in days. */
const MOST = 400;
const DAY_MS = 86_400_000;

/** The spans that are one click away, in days up to today. */
export const SPANS = [7, 30, 90];
const USUAL = 30;

const msOf = (day) => Date.parse(`${day}T00:00:00Z`);

/** `{ from, to, days }`; no days: the span ends before it begins, or is too long. */
export function spanOf({ from, to }, now = Date.now()) {
  const last = isDay(to) ? to : dayOf(now);
  const first = isDay(from) ? from : lastDays(USUAL, msOf(last))[0];
  const length = (msOf(last) - msOf(first)) / DAY_MS + 1;
  const isGood = length >= 1 && length <= MOST;
  return { from: first, to: last, days: isGood ? lastDays(length, msOf(last)) : [] };
}

/** The 30th of February is none, though `Date` takes it for a day in March. */
const isDay = (text) =>
  /^\d{4}-\d\d-\d\d$/.test(text ?? "") &&
  !Number.isNaN(msOf(text)) &&
  new Date(msOf(text)).toISOString().startsWith(text);

/** The address of a span of `SPANS`: without days of its own it moves on with the calendar. */
export const lastSpan = (count, now = Date.now()) =>
  count === USUAL ? { from: undefined, to: undefined } : { from: lastDays(count, now)[0], to: undefined };

/** Which of `SPANS` is shown, if it is one of them. */
export function spanLength({ from, to, days }, now = Date.now()) {
  return to === dayOf(now) && SPANS.includes(days.length) && from === days[0] ? days.length : null;
}
