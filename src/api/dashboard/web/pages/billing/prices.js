// What packs tell about each other. Whole numbers only: a credit has no price that could be stored.

/** Whether a credit of `a` costs less than one of `b`. */
const isBetter = (a, b) =>
  BigInt(a.price_fils) * BigInt(b.credits) < BigInt(b.price_fils) * BigInt(a.credits);

/** The pack whose credits cost less than every other pack's; `undefined` where several are alike. */
export const bestPack = (packs) =>
  packs.length > 1
    ? packs.find((pack) => packs.every((other) => other === pack || isBetter(pack, other)))
    : undefined;

/** The pack with the fewest credits. */
export const smallestPack = (packs) =>
  packs.reduce((least, pack) => (pack.credits < least.credits ? pack : least));

/** By how many whole percent a credit of `pack` costs less than one of `other`, rounded down. */
export function percentLess(pack, other) {
  const costs = BigInt(other.price_fils) * BigInt(pack.credits);
  const less = costs - BigInt(pack.price_fils) * BigInt(other.credits);
  return less > 0n ? Number((less * 100n) / costs) : 0;
}
