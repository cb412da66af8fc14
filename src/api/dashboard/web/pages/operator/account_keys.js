// An account's keys, made and revoked by the operator.
import { html, useState } from "../../lib/ui.js";
import { api } from "../../lib/api.js";
import { useAction } from "../../lib/load.js";
import { Badge, Button, Card, Code, Confirm, Dialog, Table } from "../../lib/parts.js";
import { ago, number } from "../../lib/format.js";
import { t } from "../../lib/words.js";
import { Ask } from "./ask.js";

export function AccountKeys({ account, path, reload }) {
  const [creating, setCreating] = useState(false);
  const [made, setMade] = useState(null);
  const [ending, setEnding] = useState(null);
  const revoke = useAction(async () => {
    const answer = await api(`/api/v1/admin/keys/${ending.id}`, { method: "DELETE" });
    await reload();
    return answer;
  });
  const good = account.keys.filter(({ revoked }) => !revoked);
  return html`
    <${Card}
      title=${t("accounts.keys")}
      actions=${!account.closed_at &&
      html`<${Button} icon="plus" onClick=${() => setCreating(true)}>${t("accounts.key_create")}<//>`}
    >
      <${Table}
        caption=${t("accounts.keys")}
        empty=${t("accounts.no_keys")}
        rows=${good}
        columns=${[
          { title: t("accounts.key_label"), cell: ({ label }) => html`<bdi>${label}</bdi>` },
          { title: t("accounts.key_prefix"), cell: ({ prefix }) => html`<code dir="ltr">${prefix}…</code>` },
          {
            title: t("accounts.scopes"),
            hideOnPhone: true,
            cell: ({ scopes }) => html`<span dir="ltr">${scopes.join(", ")}</span>`,
          },
          { title: t("accounts.used"), number: true, cell: ({ usage }) => number(usage) },
          {
            title: t("accounts.last_used"),
            hideOnPhone: true,
            cell: (key) => (key.last_used_at ? ago(key.last_used_at) : "–"),
          },
          {
            title: "",
            cell: (key) =>
              key.expired
                ? html`<${Badge} kind="warn">${t("accounts.expired")}<//>`
                : html`<${Button} kind="quiet" icon="trash" onClick=${() => setEnding(key)}>
                    ${t("accounts.revoke")} <span class="for-readers">${key.label}</span>
                  <//>`,
          },
        ]}
      />
      ${creating &&
      html`<${Ask}
        title=${t("accounts.key_create")}
        word=${t("accounts.key_create")}
        fields=${[
          { name: "label", label: t("accounts.key_label"), required: true },
          {
            name: "scopes",
            label: t("accounts.scopes"),
            type: "select",
            options: [
              ["inference,usage", t("accounts.scopes_spend")],
              ["inference,usage,billing,keys,users", t("accounts.scopes_all")],
            ],
            initial: "inference,usage",
          },
        ]}
        act=${async (body) => {
          try {
            setMade(await api(`${path}/keys`, { method: "POST", body }));
          } finally {
            // Even without an answer it may have been made, and then stands in the list to be revoked.
            reload();
          }
        }}
        onClose=${() => setCreating(false)}
      />`}
      ${made &&
      html`<${Dialog} title=${t("accounts.key_made")} onClose=${() => setMade(null)}>
        <p>${t("accounts.key_once")}</p>
        <${Code} text=${made.secret} />
      <//>`}
      ${ending &&
      html`<${Confirm}
        title=${`${t("accounts.revoke")}: ${ending.label}`}
        word=${t("accounts.revoke")}
        action=${revoke}
        onClose=${() => setEnding(null)}
      >
        ${t("accounts.revoke_lead")}
      <//>`}
    <//>
  `;
}
