// One request: its figures, what was generated as far as that is stored, and the proof of its price.
import { html } from "../../lib/ui.js";
import { api, request } from "../../lib/api.js";
import { useAction, useLoad } from "../../lib/load.js";
import { Button, Copy, Dialog, Loaded, Problem } from "../../lib/parts.js";
import { credits, dateTime, decimal, duration, number } from "../../lib/format.js";
import { save } from "../../lib/save.js";
import { t } from "../../lib/words.js";
import { Ending } from "../request_table.js";

/** `of`: its row in the log; `mayRead`: whether it is the caller's own, whose text may be read. */
export function Request({ of: row, mayRead, onClose }) {
  const path = `/api/v1/generations/${row.id}`;
  const whole = useLoad((signal) => (mayRead ? api(path, { signal }) : { data: row }), [row.id]);
  const receipt = useAction(async () => {
    // As it came: the signature is over these bytes.
    save(await (await request(`${path}/receipt`)).text(), `mizan-receipt-${row.id}.json`);
  });
  return html`
    <${Dialog} title=${t("usage.request")} onClose=${onClose}>
      <${Loaded} from=${whole}>
        ${({ data }) => html`
          <${Figures} of=${{ ...row, ...data }} />
          ${mayRead ? html`<${Choices} of=${data} />` : html`<p class="hint">${t("usage.not_ours")}</p>`}
        `}
      <//>
      <${Problem} error=${receipt.error} />
      <div class="form-buttons">
        ${mayRead &&
        row.status !== "running" &&
        html`<${Button} icon="shield" busy=${receipt.busy} onClick=${receipt.run}>${t("usage.receipt")}<//>`}
        <${Button} kind="primary" onClick=${onClose}>${t("common.close")}<//>
      </div>
    <//>
  `;
}

const Figures = ({ of: row }) => html`
  <dl class="usage-request">
    <${Line} name=${t("usage.id")}>
      <span class="mono" dir="ltr">${row.id}</span> <${Copy} kind="quiet" text=${row.id} />
    <//>
    <${Line} name=${t("usage.when")}>${dateTime(row.created)}<//>
    <${Line} name=${t("usage.account")}><bdi>${row.account}</bdi><//>
    <${Line} name=${t("usage.model")}><bdi>${row.model}</bdi><//>
    <${Line} name=${t("usage.key")}>
      <bdi>${row.key.label}</bdi> <small class="mono" dir="ltr">${row.key.prefix}…</small>
    <//>
    <${Line} name=${t("usage.finish")}><${Ending} of=${row} /><//>
    <${Line} name=${t("usage.tokens_in")}>${number(row.tokens_prompt)}<//>
    <${Line} name=${t("usage.tokens_out")}>${number(row.tokens_completion)}<//>
    <${Line} name=${t("usage.credits")}>
      ${credits(row.credits)} <small>${t("usage.each", { n: number(row.credit_multiplier) })}</small>
    <//>
    <${Line} name=${t("usage.first_token")}>${duration(row.time_to_first_token)}<//>
    <${Line} name=${t("usage.time")}>${duration(row.generation_time)}<//>
    <${Line} name=${t("usage.speed")}>
      ${row.tokens_per_second === null ? "–" : decimal(row.tokens_per_second)}
    <//>
    <${Line} name=${t("usage.streamed")}>${t(row.streamed ? "usage.yes" : "usage.no")}<//>
  </dl>
`;

const Line = ({ name, children }) => html`
  <div>
    <dt>${name}</dt>
    <dd>${children}</dd>
  </div>
`;

/** The answers; they are stored for a time only, and are text while their model is in memory. */
function Choices({ of: data }) {
  if (data.status === "running") return html`<p class="hint">${t("usage.is_running")}</p>`;
  if (!data.choices) return html`<p class="hint">${t("usage.not_stored")}</p>`;
  return data.choices.map(
    (choice) => html`
      <section class="usage-choice">
        <h3>
          ${data.choices.length > 1 ? t("usage.choice", { n: number(choice.index + 1) }) : t("usage.answer")}
          ${" "}
          <${Length} of=${choice.token_ids} />
        </h3>
        ${choice.text === null
          ? html`<p class="hint">${t("usage.no_text")}</p>`
          : html`<pre class="usage-text" dir="auto" tabindex="0">${choice.text}</pre>`}
      </section>
    `,
  );
}

const Length = ({ of: ids }) => html`
  <small>${t("usage.ids", { count: ids.length, n: number(ids.length) })}</small>
`;
