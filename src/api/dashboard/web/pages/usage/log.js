// Every request, the newest first, a page at a time; one opens to what it was.
import { html, useState } from "../../lib/ui.js";
import { api, withQuery } from "../../lib/api.js";
import { CsvLink } from "../../lib/download.js";
import { useAction, useLoad } from "../../lib/load.js";
import { Button, Card, Field, Loaded, Problem } from "../../lib/parts.js";
import { number } from "../../lib/format.js";
import { t } from "../../lib/words.js";
import { RequestTable } from "../request_table.js";
import { Request } from "./request.js";

const PAGE = 25;
/** In the API's words: why a request may have ended. */
const FINISHES = ["stop", "length", "tool_calls", "disconnect", "shutdown", "error", "refused"];

export function Log({ root, query, span, set, operator }) {
  const { model, key, finish } = query;
  const { from, to } = span;
  const asked = { account: operator ? query.account : undefined, model, key, finish, from, to };
  const read = (more, signal) =>
    api(withQuery(`${root}/generations`, { ...asked, limit: PAGE, ...more }), { signal });
  const which = JSON.stringify(asked);
  const first = useLoad((signal) => read({}, signal), [which]);
  // Pages behind the first: those of another question do not belong to this one.
  const [behind, setBehind] = useState({ which, pages: [] });
  const further = behind.which === which ? behind.pages : [];
  const [opened, setOpened] = useState(null);
  const last = further.at(-1) ?? first.data;
  const more = useAction(async () => {
    const page = await read({ before: last.next });
    setBehind({ which, pages: [...further, page] });
  });
  const again = () => {
    setBehind({ which, pages: [] });
    first.reload();
  };

  return html`
    <${Card}
      title=${t("usage.requests")}
      actions=${html`
        <${Button} kind="quiet" icon="refresh" onClick=${again}>${t("usage.refresh")}<//>
        <${CsvLink} href=${withQuery(`${root}/generations`, { ...asked, format: "csv" })} />
      `}
    >
      <div class="filters">
        <${Field}
          label=${t("usage.finish")}
          type="select"
          options=${[["", t("usage.all")], ...FINISHES.map((word) => [word, word])]}
          value=${finish ?? ""}
          onValue=${(word) => set({ finish: word })}
        />
      </div>
      <${Loaded} from=${first}>
        ${(page) => {
          const rows = [page, ...further].flatMap(({ data }) => data);
          return html`
            <div class="usage-log">
              <${RequestTable} whole accounts=${operator} rows=${rows} onOpen=${setOpened} />
            </div>
            <p class="usage-more" role="status">
              ${t("usage.shown", { count: rows.length, n: number(rows.length) })}
            </p>
            <${Problem} error=${more.error} />
            ${last.has_more &&
            html`<div class="form-buttons">
              <${Button} busy=${more.busy} onClick=${more.run}>${t("usage.more")}<//>
            </div>`}
          `;
        }}
      <//>
      ${opened && html`<${Request} of=${opened} mayRead=${!operator} onClose=${() => setOpened(null)} />`}
    <//>
  `;
}
