// The pages' words: both languages have all of them, and no page asks for one that is not there.
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

const WEB = process.env.MIZAN_WEB;

/** All files of ours below `folder`. */
async function sources(folder) {
  const names = await readdir(folder, { recursive: true });
  return names.filter((name) => name.endsWith(".js") && !name.startsWith("vendor"));
}

/** The tables as the files say them, without the page around them. */
async function allWords() {
  const words = {};
  for (const name of await readdir(join(WEB, "words"))) {
    const text = await readFile(join(WEB, "words", name), "utf8");
    const script = text.replace(/^import .*$/gm, "");
    new Function("define", script)((area, table) => {
      for (const [key, pair] of Object.entries(table)) {
        assert(!(`${area}.${key}` in words), `${area}.${key} is defined twice`);
        words[`${area}.${key}`] = pair;
      }
    });
  }
  return words;
}

const forms = (side) => (typeof side === "string" ? { other: side } : side);
const holes = (text) => [...new Set(text.match(/\{\w+\}/g) ?? [])].sort();

test("every word is there in English and in Arabic, with the same places to fill", async () => {
  for (const [name, pair] of Object.entries(await allWords())) {
    assert.equal(pair.length, 2, name);
    const [english, arabic] = pair.map(forms);
    assert(english.other && arabic.other, `${name} lacks the form that always fits`);
    assert.deepEqual(holes(arabic.other), holes(english.other), name);
    // Names of products stay as they are; everything else that has letters is translated.
    if (typeof pair[0] === "string" && pair[0] !== pair[1] && /[a-z]{3}/.test(pair[0].replace(/\{\w+\}/g, ""))) {
      assert.match(arabic.other, /[\u0600-\u06ff]/, `${name} is not Arabic`);
    }
    if (typeof pair[0] === "object") {
      for (const form of ["one", "two", "few", "many"]) assert(arabic[form], `${name} lacks '${form}'`);
    }
  }
});

test("every word that a page asks for exists, and every word is asked for", async () => {
  const words = await allWords();
  const asked = new Set();
  const begun = new Set();
  for (const file of await sources(WEB)) {
    const text = await readFile(join(WEB, file), "utf8");
    for (const [, name] of text.matchAll(/["'`]([a-z_]+\.[a-z0-9_]+)["'`]/g)) asked.add(name);
    // `t(`area.kind_${x}`)`: any that begins like this.
    for (const [, start] of text.matchAll(/`([a-z_]+\.[a-z0-9_]*)\$\{/g)) begun.add(start);
    for (const [, name] of text.matchAll(/\bt\(\s*["']([^"']+)["']/g)) {
      assert(name in words, `${file} asks for ${name}`);
    }
  }
  const unused = Object.keys(words).filter(
    (name) => !asked.has(name) && ![...begun].some((start) => name.startsWith(start)),
  );
  assert.deepEqual(unused, []);
});

test("days, rates and stacks are what the charts show", async () => {
  const days = await import(pathToFileURL(join(WEB, "lib/days.js")));
  // Midnight in Kuwait is 21:00 UTC of the day before.
  const late = Date.UTC(2026, 10, 22, 21);
  assert.equal(days.dayOf(late - 1), "2026-11-22");
  assert.equal(days.dayOf(late), "2026-11-23");
  assert.deepEqual(days.lastDays(3, late), ["2026-11-21", "2026-11-22", "2026-11-23"]);
  const row = (day, model, credits) => ({ day, model, credits });
  // Used on the last two of three days: the rate is of two days, not of three.
  const rows = [row("2026-11-22", "a", 30), row("2026-11-23", "b", 10)];
  assert.equal(days.dailyUse(rows, 3, late), 20);
  assert.equal(days.dailyUse([], 3, late), 0);
  assert.equal(days.daysLeft(110, 20), 5);
  assert.equal(days.daysLeft(110, 0), null);
  assert.equal(days.daysLeft(1e12, 1), null);
  const span = days.lastDays(2, late);
  assert.deepEqual(
    days.stacked(rows, span, "model").map(({ name, values }) => [name, ...values]),
    [["a", 30, 0], ["b", 0, 10]],
  );
  // Beyond five groups the small ones are one.
  const many = Array.from({ length: 8 }, (_, n) => row("2026-11-23", `m${n}`, 10 + n));
  const stacks = days.stacked(many, span, "model");
  assert.equal(stacks.length, 6);
  assert.equal(stacks.reduce((sum, { values }) => sum + values[1], 0), 108);
});
