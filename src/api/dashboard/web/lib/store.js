// One value that several parts of the page show. Setting it redraws those that use it.
import { useEffect, useState } from "preact/hooks";

export function store(initial) {
  let value = initial;
  const listeners = new Set();
  return {
    get: () => value,
    set(next) {
      if (Object.is(next, value)) return;
      value = next;
      for (const listener of [...listeners]) listener();
    },
    /** The value, in a component that is drawn again when it changes. */
    use() {
      const [, redraw] = useState(0);
      useEffect(() => {
        const listener = () => redraw((n) => n + 1);
        listeners.add(listener);
        listener(); // It may have changed between drawing and listening.
        return () => listeners.delete(listener);
      }, []);
      return value;
    },
  };
}
