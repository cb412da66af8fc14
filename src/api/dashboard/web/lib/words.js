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

/**
 * The words called `name`, with `{x}` replaced by `values.x`. A pair may be followed by plural forms:
 * `{ one, two, few, many, other }` for each language, chosen by `values.count` (CLDR's rules).
 */
export function t(name, values = {}) {
  const index = language.get() === "ar" ? 1 : 0;
  let text = WORDS[name]?.[index];
  if (text === undefined) throw new Error(`there are no words called ${name}`);
  if (typeof text === "object") {
    const form = new Intl.PluralRules(language.get()).select(values.count);
    text = text[form] ?? text.other;
  }
  return text.replace(/\{(\w+)\}/g, (whole, key) => (key in values ? values[key] : whole));
}

/** All words, for the test that nothing is missing. */
export const allWords = () => WORDS;
