// Light, dark, or as the system says. Charts draw again when it changes.
import { store } from "./store.js";

const dark = matchMedia("(prefers-color-scheme: dark)");
const root = document.documentElement;

const current = () => root.dataset.theme ?? (dark.matches ? "dark" : "light");

/** "light" or "dark", as it is shown. */
export const theme = store(current());

dark.addEventListener("change", () => theme.set(current()));

/** Switches, and remembers it; back to what the system says is no choice of its own. */
export function toggleTheme() {
  const next = theme.get() === "dark" ? "light" : "dark";
  const isSystems = next === (dark.matches ? "dark" : "light");
  if (isSystems) delete root.dataset.theme;
  else root.dataset.theme = next;
  try {
    if (isSystems) localStorage.removeItem("mizan.theme");
    else localStorage.setItem("mizan.theme", next);
  } catch {
    // Then it holds until the page is closed.
  }
  theme.set(next);
}
