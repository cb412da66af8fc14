// What requests cost, by tokens and by credits. Whole numbers only, in units so small that nothing is
// rounded before it is shown.

/** Decimals of a rate in USD for a million tokens, and of an exchange rate. */
const RATE_DIGITS = 6;

/** A count: `null` if it is none. */
export const parseCount = (text) => (/^\d{1,12}$/.test(text.trim()) ? BigInt(text.trim()) : null);

/** A decimal as a whole number of millionths; `null` if it is none, or has more than six decimals. */
export function parseRate(text) {
  const found = /^(?=\.?\d)(\d{0,9})(?:\.(\d{0,6}))?$/.exec(text.trim());
  return found && BigInt(found[1] + (found[2] ?? "").padEnd(RATE_DIGITS, "0"));
}

/** One request by tokens: USD with 12 decimals, KWD with 18. */
export function tokenBill({ input, output, inputRate, outputRate, exchange }) {
  const [forInput, forOutput] = [input * inputRate, output * outputRate];
  const usd = forInput + forOutput;
  return { forInput, forOutput, usd, kwd: usd * exchange };
}

export const USD_DIGITS = 2 * RATE_DIGITS;
export const KWD_DIGITS = 3 * RATE_DIGITS;

/** What of a pack's price so many credits are, in fils, rounded up. */
export const share = (credits, pack) => divideUp(credits * BigInt(pack.price_fils), BigInt(pack.credits));

/** How many packs bring so many credits, and what they cost in fils. */
export function packsFor(credits, pack) {
  const count = divideUp(credits, BigInt(pack.credits));
  return { count, fils: count * BigInt(pack.price_fils) };
}

const divideUp = (a, b) => (a + b - 1n) / b;

/**
 * `value`, which has `digits` decimals, as text with at most `most` of them, half up, and at least
 * `least`.
 */
export function decimalText(value, digits, { least, most }) {
  const unit = 10n ** BigInt(digits - most);
  const rounded = (value + unit / 2n) / unit;
  const text = String(rounded).padStart(most + 1, "0");
  const [whole, part] = [text.slice(0, text.length - most), text.slice(text.length - most)];
  const kept = part.slice(0, least) + part.slice(least).replace(/0+$/, "");
  const thousands = whole.replace(/\B(?=(\d{3})+$)/g, ",");
  return kept ? `${thousands}.${kept}` : thousands;
}

/** Fils as KWD, all three decimals. */
export const filsText = (fils) => decimalText(fils, 3, { least: 3, most: 3 });
