// The words of the page in both languages. A file in `words/` has those of one area: for each name,
// English and Arabic side by side, so that neither is forgotten.
import { store } from "./store.js";

const WORDS = {};

/** Adds an area's words: `define("billing", { title: ["Billing", "الفواتير"] })`. */
export function define(area, words) {
  for (const [name, pair] of Object.entries(words)) WORDS[`${area}.${name}`] = pair;
}

export const language = store(document.documentElement.lang);

/** Switches everything to `next`, "en" or "ar", and remembers it. */
export function setLanguage(next) {
  const root = document.documentElement;
  root.lang = next;
  root.dir = next === "ar" ? "rtl" : "ltr";
  try {
    localStorage.setItem("mizan.language", next);
  } catch {
    // Then it holds until the page is closed.
  }
  language.set(next);
}

/** A text whose direction is its own: between Unicode's FIRST STRONG ISOLATE and POP. */
export const isolated = (text) => `\u2068${text}\u2069`;

/**
 * The words called `name`, with `{x}` replaced by `values.x`. A pair may be followed by plural forms:
 * `{ one, two, few, many, other }` for each language, chosen by `values.count` (CLDR's rules).
 * In Arabic each value is isolated, so that a name or an id in Latin letters turns nothing around it.
 */
export function t(name, values = {}) {
  const index = language.get() === "ar" ? 1 : 0;
  let text = WORDS[name]?.[index];
  if (text === undefined) throw new Error(`there are no words called ${name}`);
  if (typeof text === "object") {
    const form = new Intl.PluralRules(language.get()).select(values.count);
    text = text[form] ?? text.other;
  }
  return text.replace(/\{(\w+)\}/g, (whole, key) => {
    if (!(key in values)) return whole;
    return index === 1 ? isolated(values[key]) : values[key];
  });
}

/** All words, for the test that nothing is missing. */
export const allWords = () => WORDS;
