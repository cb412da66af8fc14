// Rates of counters that only grow, from one reading to the next.
import { useEffect, useRef, useState } from "preact/hooks";

/** Readings that are kept: two minutes of one each second. */
const KEPT = 120;

/**
 * `counters(data)` gives `{ name: total }` of a reading with `now_ms`. Returns
 * `[{ name: per second, ... }, ...]`, the latest last; empty before the second reading. A counter that
 * fell has begun anew, as after a restart, and counts from zero.
 */
export function useRates(data, counters) {
  const before = useRef(null);
  const [rates, setRates] = useState([]);
  useEffect(() => {
    if (!data) return;
    const now = { at: data.now_ms, totals: counters(data) };
    const old = before.current;
    before.current = now;
    if (!old || now.at <= old.at) return;
    const seconds = (now.at - old.at) / 1_000;
    const rate = {};
    for (const [name, total] of Object.entries(now.totals)) {
      const grown = total - (old.totals[name] ?? total);
      rate[name] = (grown < 0 ? total : grown) / seconds;
    }
    setRates((known) => [...known, rate].slice(-KEPT));
  }, [data]);
  return rates;
}
