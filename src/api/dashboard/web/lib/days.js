// Usage by day: which days, stacks for the chart, the rate and how long a balance lasts at it. Days
// are Kuwait's, as in the API (UTC+03:00, no summer time).

const DAY_MS = 86_400_000;
const KUWAIT_MS = 3 * 3_600_000;

/** The groups of a chart beside "others". */
const MAX_GROUPS = 5;

/** The last day that the API can name; browsers let people type years of six digits. */
export const LAST_DAY = "9999-12-31";

/** "2026-11-03" of the day that `ms` lies in. */
export const dayOf = (ms) => new Date(ms + KUWAIT_MS).toISOString().slice(0, 10);

/** The last `count` days, today the last of them. */
export const lastDays = (count, now = Date.now()) =>
  Array.from({ length: count }, (_, n) => dayOf(now - (count - 1 - n) * DAY_MS));

const nameOf = (row, by) => (by === "key" ? row.key.label || row.key.prefix : row[by]);

/** Rows of `/api/v1/usage` as `[{ name, values }]`, the largest first, the small ones together. */
export function stacked(rows, days, by, value = (row) => row.credits) {
  const at = new Map(days.map((day, n) => [day, n]));
  const groups = new Map();
  for (const row of rows) {
    if (!at.has(row.day)) continue;
    // Two keys may have one label.
    const id = by === "key" ? row.key.id : row[by];
    if (!groups.has(id)) groups.set(id, { name: nameOf(row, by), values: days.map(() => 0), sum: 0 });
    const group = groups.get(id);
    group.values[at.get(row.day)] += value(row);
    group.sum += value(row);
  }
  const sorted = [...groups.values()].sort((a, b) => b.sum - a.sum);
  const shown = sorted.slice(0, MAX_GROUPS);
  const rest = sorted.slice(MAX_GROUPS);
  if (rest.length > 0) {
    const values = days.map((_, n) => rest.reduce((sum, group) => sum + group.values[n], 0));
    shown.push({ name: "…", values });
  }
  return shown.length > 0 ? shown : [{ name: "", values: days.map(() => 0) }];
}

/** Credits a day over the last `count` days, counted from the first of them that has any use. */
export function dailyUse(rows, count, now = Date.now()) {
  const days = lastDays(count, now);
  const used = rows.filter((row) => row.day >= days[0] && row.credits > 0);
  if (used.length === 0) return 0;
  const first = used.reduce((least, row) => (row.day < least ? row.day : least), days.at(-1));
  const length = days.length - days.indexOf(first);
  return Math.round(used.reduce((sum, row) => sum + row.credits, 0) / length);
}

/** Whole days that `balance` lasts at `rate` a day; `null`: nothing is used, or for years. */
export function daysLeft(balance, rate) {
  const days = rate > 0 ? Math.floor(balance / rate) : Infinity;
  return days > 3_650 ? null : days;
}
