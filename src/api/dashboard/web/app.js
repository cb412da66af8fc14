// The dashboard: finds out who is there, and shows the page that the address names.
import { html, render, useEffect, useErrorBoundary, useState } from "./lib/ui.js";
import { signedOut } from "./lib/api.js";
import { isOperator, me, may, recognise } from "./lib/session.js";
import { language, t } from "./lib/words.js";
import { Problem, Skeleton, Toasts } from "./lib/parts.js";
import { useRoute } from "./lib/route.js";
import { Shell } from "./shell.js";
import { accountPages, operatorPages, openPages } from "./pages.js";
import "./words/common.js";

function App() {
  const who = me.use();
  const lost = signedOut.use();
  const route = useRoute();
  const [error, setError] = useState(null);
  language.use();

  const start = () => recognise().then(() => setError(null), setError);
  useEffect(() => void start(), []);
  useEffect(() => {
    if (lost) me.set(null);
  }, [lost]);

  const { parts } = route;
  const open = openPages[parts[0]];
  if (error) return html`<main class="alone"><${Problem} error=${error} retry=${start} /></main>`;
  if (who === undefined) return html`<main class="alone"><${Skeleton} /></main>`;
  if (open && (who === null || open.always)) {
    return html`<${Lazy} load=${open.load} props=${{ parts, query: route.query }} />`;
  }
  if (who === null) {
    return html`<${Lazy} load=${openPages["sign-in"].load} props=${{ parts, lost }} />`;
  }
  const pages = (isOperator(who) ? operatorPages : accountPages).filter(
    (page) => !page.scope || may(page.scope),
  );
  const page = pages.find((page) => page.path === (parts[0] ?? "")) ?? pages[0];
  return html`
    <${Shell} pages=${pages} current=${page}>
      <${Lazy} key=${page.path} load=${page.load} props=${{ parts: parts.slice(1), query: route.query }} />
    <//>
    <${Toasts} />
  `;
}

/** A page's module comes when it is first shown; its default export is the page. */
function Lazy({ load, props }) {
  const [state, setState] = useState({ load: null, Page: null, error: null });
  const [broken] = useErrorBoundary((error) => console.error(error));
  useEffect(() => {
    let left = false;
    const show = (Page, error) => left || setState({ load, Page, error });
    load().then(
      (module) => show(module.default, null),
      () => show(null, { status: 0 }),
    );
    return () => (left = true);
  }, [load]);
  if (broken) return html`<${Problem} error=${{ message: t("common.broken") }} retry=${() => location.reload()} />`;
  if (state.load !== load) return html`<${Skeleton} />`;
  if (state.error) return html`<${Problem} error=${state.error} retry=${() => location.reload()} />`;
  return html`<${state.Page} ...${props} />`;
}

// The documentation has an address of its own that can be given to anybody; from there on the pages
// are where they always are.
if (location.pathname === "/docs") history.replaceState(null, "", `/${location.hash || "#/docs"}`);

render(html`<${App} />`, document.getElementById("app"));
