// Being told when the balance is low: below which balance, at which address, and what was told.
import { html, useEffect, useState } from "../../lib/ui.js";
import { api } from "../../lib/api.js";
import { useAction, useLoad } from "../../lib/load.js";
import { Badge, Button, Card, Check, Code, Field, Form, Loaded, Table, say } from "../../lib/parts.js";
import { dateTime, number } from "../../lib/format.js";
import { t } from "../../lib/words.js";

/** What a first notice is proposed at. */
const PROPOSED = "1000";

/** `from`: how it is set now; `root`: where the account's notices are; `who`: what ticks them on. */
export const LowBalance = ({ from, root = "/api/v1/notices", who = t("billing.notice_on") }) => html`
  <${Card} title=${t("billing.notice")}>
    <${Loaded} from=${from}>
      ${({ data }) => html`<${Settings} now=${data} root=${root} who=${who} reload=${from.reload} />`}
    <//>
  <//>
`;

function Settings({ now, root, who, reload }) {
  const [on, setOn] = useState(now.below !== null);
  const [below, setBelow] = useState(now.below === null ? PROPOSED : String(now.below));
  const [url, setUrl] = useState(now.url ?? "");
  const [secret, setSecret] = useState(null);
  const sent = useLoad((signal) => api(root, { signal }));
  const isWhole = /^[1-9]\d{0,14}$/.test(below.trim());
  const save = useAction(async () => {
    const wanted = on ? { below: Number(below.trim()), url: url.trim() || undefined } : {};
    const { data } = await api(`${root}/low-balance`, { method: "PUT", body: wanted });
    setSecret(data.secret ?? null);
    say(t("common.saved"));
    await reload();
  });
  useEffect(() => setSecret(null), [url, on]);

  return html`
    <${Form}
      onSubmit=${() => (!on || isWhole) && save.run()}
      error=${save.error}
      buttons=${html`<${Button} kind="primary" type="submit" busy=${save.busy}>${t("common.save")}<//>`}
    >
      <${Check} label=${who} checked=${on} onValue=${setOn} />
      ${on &&
      html`
        <${Field}
          label=${t("billing.below")}
          error=${isWhole ? null : t("billing.whole")}
          inputmode="numeric"
          dir="ltr"
          value=${below}
          onValue=${setBelow}
          required
        />
        <${Field}
          label=${t("billing.url")}
          hint=${t("billing.url_hint")}
          type="url"
          dir="ltr"
          placeholder="https://"
          value=${url}
          onValue=${setUrl}
        />
      `}
    <//>
    <div role="status">
      ${secret &&
      html`
        <h3>${t("billing.secret")}</h3>
        <${Code} text=${secret} />
        <p class="hint">${t("billing.secret_hint")}</p>
      `}
    </div>
    <h3 class="billing-sub">${t("billing.sent")}</h3>
    <${Loaded} from=${sent} lines=${2}>${(list) => html`<${Sent} rows=${list.data} />`}<//>
  `;
}

const Sent = ({ rows }) => html`
  <${Table}
    caption=${t("billing.sent")}
    empty=${t("billing.no_notices")}
    rows=${rows}
    columns=${[
      { title: t("billing.when"), cell: (row) => dateTime(row.created) },
      { title: t("common.balance"), number: true, cell: (row) => number(row.balance) },
      { title: t("billing.threshold"), number: true, cell: (row) => number(row.threshold) },
      { title: t("billing.delivery"), cell: (row) => html`<${Delivery} row=${row} />` },
    ]}
  />
`;

function Delivery({ row }) {
  if (!row.url) return html`<${Badge}>${t("billing.shown_only")}<//>`;
  if (row.sent_at) return html`<${Badge} kind="good">${t("billing.delivered")}<//>`;
  const again = row.next_try_at;
  return html`
    <${Badge} kind=${again ? "gold" : "bad"}>${t(again ? "billing.retried" : "billing.given_up")}<//>
    ${again && html`<br /><small>${t("billing.next_try", { time: dateTime(again) })}</small>`}
    ${row.error && html`<br /><small><bdi>${row.error}</bdi></small>`}
  `;
}
