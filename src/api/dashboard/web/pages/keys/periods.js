// When a key's limit last began again, and what the key has spent since: at midnight in Kuwait, of
// the day, of Monday, or of the month's first day.
import { dayOf } from "../../lib/days.js";

const DAY_MS = 86_400_000;

/** The first day of the running period. */
export function startOf(reset, now = Date.now()) {
  const today = dayOf(now);
  if (reset === "monthly") return `${today.slice(0, 8)}01`;
  const sinceMonday = (new Date(`${today}T00:00:00Z`).getUTCDay() + 6) % 7;
  return reset === "weekly" ? dayOf(now - sinceMonday * DAY_MS) : today;
}

/** The first day of all running periods: a week may have begun in the month before. */
export const earliestStart = (now) => [startOf("weekly", now), startOf("monthly", now)].sort()[0];

/** Of rows by day and key, what `key` has spent in the period of its limit. */
export function usedIn(rows, key, now) {
  const start = startOf(key.limit_reset, now);
  const own = rows.filter((row) => row.key.id === key.id && row.day >= start);
  return own.reduce((sum, row) => sum + row.credits, 0);
}
