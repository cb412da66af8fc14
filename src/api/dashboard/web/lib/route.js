// Which page is shown: the part of the address behind '#', such as `#/usage?model=x`. It never
// reaches the server, so every page is the same document and no secret in a link is logged.
import { useEffect, useState } from "preact/hooks";

function read() {
  const [path, query = ""] = location.hash.replace(/^#/, "").split("?", 2);
  const parts = path.split("/").filter(Boolean).map(decode);
  return { parts, query: Object.fromEntries(new URLSearchParams(query)) };
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** `{ parts, query }` of the address, kept up to date. */
export function useRoute() {
  const [route, setRoute] = useState(read);
  useEffect(() => {
    const changed = () => setRoute(read());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}

/** `#/a/b?x=1` from `link(["a", "b"], { x: 1 })`. */
export function link(parts, query = {}) {
  const path = parts.map(encodeURIComponent).join("/");
  const set = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
  const text = new URLSearchParams(set).toString();
  return `#/${path}${text ? `?${text}` : ""}`;
}

/** Goes there; with `replace`, without a step to come back to. */
export function go(hash, { replace = false } = {}) {
  if (replace) {
    history.replaceState(null, "", hash);
    dispatchEvent(new HashChangeEvent("hashchange"));
  } else {
    location.hash = hash;
  }
}
