// What operators and owners did, the latest first.
import { html, useId, useState } from "../../lib/ui.js";
import { api, withQuery } from "../../lib/api.js";
import { useAction, useLoad } from "../../lib/load.js";
import { Button, Card, Field, Loaded, Page, Problem, Table } from "../../lib/parts.js";
import { dateTime } from "../../lib/format.js";
import { go, link } from "../../lib/route.js";
import { t } from "../../lib/words.js";
import "../../words/operator.js";

const LIMIT = 50;

const read = (query, before, signal) =>
  api(withQuery("/api/v1/admin/audit", { ...query, before, limit: LIMIT }), { signal });

/** A field that counts when it is written: half a name finds nothing. `known` are proposed. */
function Whole({ known, onValue, ...field }) {
  const id = useId();
  return html`
    <${Field}
      ...${field}
      list=${id}
      onInput=${undefined}
      onChange=${(event) => onValue(event.target.value.trim())}
    />
    <datalist id=${id}>${known.map((value) => html`<option value=${value}></option>`)}</datalist>
  `;
}

export default function Audit({ query }) {
  const { actor = "", action = "" } = query;
  const which = JSON.stringify([actor, action]);
  const from = useLoad((signal) => read({ actor, action }, undefined, signal), [which]);
  // Pages behind the first: those of another question do not belong to this one.
  const [behind, setBehind] = useState({ which, pages: [] });
  const more = behind.which === which ? behind.pages : [];
  const last = more.at(-1) ?? from.data;
  const further = useAction(async () => {
    const page = await read({ actor, action }, last.next);
    setBehind({ which, pages: [...more, page] });
  });
  const seen = (field) => [...new Set((from.data?.data ?? []).map((entry) => entry[field]))].sort();
  const set = (change) => go(link(["audit"], { actor, action, ...change }), { replace: true });

  return html`
    <${Page} title=${t("pages.audit")} lead=${t("operator.audit_lead")}>
      <${Card}>
        <div class="filters audit-filters">
          <${Whole}
            label=${t("operator.actor")}
            hint=${t("operator.actor_hint")}
            value=${actor}
            known=${seen("actor")}
            onValue=${(text) => set({ actor: text })}
          />
          <${Whole}
            label=${t("operator.action")}
            hint=${t("operator.action_hint")}
            dir="ltr"
            value=${action}
            known=${seen("action")}
            onValue=${(text) => set({ action: text })}
          />
        </div>
        <${Loaded} from=${from}>
          ${(page) => html`
            <${Table}
              caption=${t("pages.audit")}
              empty=${t("operator.no_entries")}
              rows=${[page, ...more].flatMap(({ data }) => data)}
              columns=${[
                {
                  title: t("operator.when"),
                  cell: ({ at }) => html`<span class="long-name"><time>${dateTime(at)}</time></span>`,
                },
                {
                  title: t("operator.actor"),
                  cell: (entry) => html`<span class="long-name"><bdi>${entry.actor}</bdi></span>`,
                },
                {
                  title: t("operator.action"),
                  hideOnPhone: true,
                  cell: (entry) => html`<code dir="ltr">${entry.action}</code>`,
                },
                {
                  title: t("operator.detail"),
                  cell: ({ action, detail }) => html`
                    <span class="audit-detail" dir="ltr">
                      <code class="phone-only">${action} </code>${detail}
                    </span>
                  `,
                },
              ]}
            />
            <${Problem} error=${further.error} />
            ${last?.has_more &&
            html`<div class="form-buttons">
              <${Button} busy=${further.busy} onClick=${further.run}>${t("operator.more")}<//>
            </div>`}
          `}
        <//>
      <//>
    <//>
  `;
}
