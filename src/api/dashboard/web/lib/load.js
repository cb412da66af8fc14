// Reading from the server in a component: once, again on demand, or every so often.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";

/**
 * `{ data, error, loading, reload }` of what `load(signal)` gives. Reads again when `inputs` change
 * and, with `every` (milliseconds), while somebody is looking at the page. What was read stays on
 * show while it is read again, but not under other inputs that could not be read; answers that come
 * too late are dropped.
 */
export function useLoad(load, inputs = [], { every } = {}) {
  const [state, setState] = useState({ data: undefined, error: null, loading: true });
  const latest = useRef(load);
  latest.current = load;
  const running = useRef(null);
  const fits = useRef(false); // Whether what is on show was read for the present inputs.

  const reload = useCallback(async () => {
    running.current?.abort();
    const controller = new AbortController();
    running.current = controller;
    try {
      const data = await latest.current(controller.signal);
      if (running.current !== controller) return;
      fits.current = true;
      setState({ data, error: null, loading: false });
    } catch (error) {
      if (error.name === "AbortError" || running.current !== controller) return;
      setState((old) => ({ data: fits.current ? old.data : undefined, error, loading: false }));
    }
  }, []);

  useEffect(() => {
    fits.current = false;
    setState((old) => ({ ...old, loading: true }));
    reload();
    return () => {
      running.current?.abort();
      running.current = null;
    };
  }, inputs);

  useEffect(() => {
    if (!every) return;
    let timer;
    let stopped = false;
    const tick = async () => {
      if (!document.hidden) await reload();
      if (!stopped) timer = setTimeout(tick, every);
    };
    timer = setTimeout(tick, every);
    // Whoever comes back to the page sees fresh figures at once.
    const seen = () => document.hidden || reload();
    document.addEventListener("visibilitychange", seen);
    return () => {
      stopped = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", seen);
    };
  }, [every]);

  return { ...state, reload };
}

/** A click that asks the server: `{ run, busy, error, clear }`; a second click waits for the first. */
export function useAction(action) {
  const [state, setState] = useState({ busy: false, error: null });
  const busy = useRef(false);
  const run = async (...values) => {
    if (busy.current) return undefined;
    busy.current = true;
    setState({ busy: true, error: null });
    try {
      const result = await action(...values);
      setState({ busy: false, error: null });
      return result;
    } catch (error) {
      setState({ busy: false, error: error.name === "AbortError" ? null : error });
      return undefined;
    } finally {
      busy.current = false;
    }
  };
  return { ...state, run, clear: () => setState({ busy: false, error: null }) };
}
