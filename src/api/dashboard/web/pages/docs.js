// The API's documentation, drawn from the server's own /openapi.json: a quick start, and one operation
// at a time. Our own renderer, because the known ones weigh megabytes and bring inline styles and
// scripts, which the page's policy refuses.
import { html, useMemo } from "../lib/ui.js";
import { api } from "../lib/api.js";
import { me } from "../lib/session.js";
import { useLoad } from "../lib/load.js";
import { Button, Empty, Loaded, Page } from "../lib/parts.js";
import { Icon } from "../lib/icons.js";
import { language, setLanguage, t } from "../lib/words.js";
import { List } from "./docs/list.js";
import { Operation } from "./docs/operation.js";
import { QuickStart } from "./docs/quick_start.js";
import { operationsOf } from "./docs/spec.js";
import "../words/docs.js";

/** `parts`: the operation's id; before signing in, behind the page's own name. */
export default function Docs({ parts }) {
  const who = me.use();
  const doc = useLoad((signal) => api("/openapi.json", { signal }));
  const id = who ? parts[0] : parts[1];
  const page = html`
    <${Page}
      wide
      title=${t("pages.docs")}
      lead=${t("docs.lead")}
      actions=${html`<a class="button" href="/openapi.json" download="mizan-openapi.json">
        <${Icon} name="down" /><bdi>openapi.json</bdi>
      </a>`}
    >
      <${Loaded} from=${doc} lines=${12}>${(data) => html`<${Reference} doc=${data} id=${id} />`}<//>
    <//>
  `;
  return who ? page : html`<${Frame}>${page}<//>`;
}

function Reference({ doc, id }) {
  const operations = useMemo(() => operationsOf(doc), [doc]);
  const operation = operations.find((known) => known.id === id);
  return html`
    <div class="docs">
      <${List} operations=${operations} tags=${doc.tags} current=${id} />
      <div class="docs-content">
        ${operation
          ? html`<${Operation} key=${id} doc=${doc} operation=${operation} />`
          : id
            ? html`<${Empty} icon="code">${t("docs.unknown")}<//>`
            : html`<${QuickStart} doc=${doc} />`}
      </div>
    </div>
  `;
}

/** For those who have not signed in: no navigation, and a way in. */
function Frame({ children }) {
  const lang = language.use();
  return html`
    <div class="docs-alone">
      <header>
        <a class="brand" href="#/docs"><img src="/assets/icon.svg" alt="" width="28" height="28" /> Mizan</a>
        <div class="actions">
          <${Button}
            kind="quiet"
            icon="language"
            onClick=${() => setLanguage(lang === "ar" ? "en" : "ar")}
            lang=${lang === "ar" ? "en" : "ar"}
          >
            ${lang === "ar" ? "English" : "العربية"}
          <//>
          <${Button} href="#/sign-in">${t("docs.sign_in")}<//>
        </div>
      </header>
      <main id="content">${children}</main>
    </div>
  `;
}
