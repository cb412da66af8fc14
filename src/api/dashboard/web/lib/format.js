// Figures, money and times as people read them. Arabic keeps Latin digits: they are those of the
// API, the receipts and the bank. Times are Kuwait's, as the days of the books are, wherever one looks.
import { isolated, language, t } from "./words.js";

const locale = () => (language.get() === "ar" ? "ar-KW-u-nu-latn" : "en-GB");
const KUWAIT = "Asia/Kuwait";
const cache = new Map();

function cached(kind, options) {
  const key = `${kind.name}${locale()}${JSON.stringify(options)}`;
  if (!cache.has(key)) cache.set(key, new kind(locale(), options));
  return cache.get(key);
}

/** A whole number with thousands apart. */
export const number = (n) => cached(Intl.NumberFormat, { maximumFractionDigits: 0 }).format(n);

/** With at most `digits` decimals. */
export const decimal = (n, digits = 1) =>
  cached(Intl.NumberFormat, { maximumFractionDigits: digits }).format(n);

/** 12.3k, for axes. */
export const short = (n) =>
  cached(Intl.NumberFormat, { notation: "compact", maximumFractionDigits: 1 }).format(n);

/** A part of one as a percentage. */
export const percent = (part, digits = 0) =>
  cached(Intl.NumberFormat, { style: "percent", maximumFractionDigits: digits }).format(part);

/** "2.000" of the API with its currency; text in, text out: no float comes near money. */
export const money = (kwd) => t("common.kwd", { amount: kwd });

/** Whole fils of "2.000", for sums and charts. */
export const fils = (kwd) => Number(kwd.replace(".", ""));

/** "2.000" of whole fils. */
export function kwdOf(fils) {
  const digits = String(Math.abs(fils)).padStart(4, "0");
  return `${fils < 0 ? "-" : ""}${digits.slice(0, -3)}.${digits.slice(-3)}`;
}

/** "5,000 credits", in the language's own plural. */
export const credits = (n) => t("common.credits", { count: n, n: number(n) });

/** A day and a time of Unix seconds. */
export const dateTime = (secs) =>
  cached(Intl.DateTimeFormat, { dateStyle: "medium", timeStyle: "short", timeZone: KUWAIT }).format(secs * 1000);

/** A day of Unix seconds. */
export const date = (secs) =>
  cached(Intl.DateTimeFormat, { dateStyle: "medium", timeZone: KUWAIT }).format(secs * 1000);

/** "3 Nov" of "2026-11-03". */
export const day = (text) =>
  cached(Intl.DateTimeFormat, { day: "numeric", month: "short", timeZone: "UTC" }).format(
    new Date(`${text}T00:00:00Z`),
  );

/** "3 minutes ago". */
export function ago(secs) {
  const past = Math.max(0, Date.now() / 1000 - secs);
  const steps = [["day", 86_400], ["hour", 3_600], ["minute", 60], ["second", 1]];
  const [unit, size] = steps.find(([, size]) => past >= size) ?? steps.at(-1);
  return cached(Intl.RelativeTimeFormat, { numeric: "auto" }).format(-Math.floor(past / size), unit);
}

/** 850 ms, 12.3 s, 4 min. */
export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1_000) return t("common.ms", { n: number(ms) });
  if (ms < 120_000) return t("common.seconds", { n: decimal(ms / 1_000) });
  return t("common.minutes", { n: number(ms / 60_000) });
}

/** 1.5 GiB, the number before the unit in Arabic too. */
export function bytes(n) {
  if (n === null || n === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let power = 0;
  for (; n >= 1024 && power < units.length - 1; power += 1) n /= 1024;
  const text = `${decimal(n, power > 2 ? 2 : 0)} ${units[power]}`;
  return language.get() === "ar" ? isolated(text) : text;
}
