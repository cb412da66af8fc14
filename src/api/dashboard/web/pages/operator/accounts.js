// All accounts, and one of them: `#/accounts/NAME`.
import { html, useState } from "../../lib/ui.js";
import { api } from "../../lib/api.js";
import { useLoad } from "../../lib/load.js";
import { Badge, Button, Card, Loaded, Page, Table } from "../../lib/parts.js";
import { date, number } from "../../lib/format.js";
import { go, link } from "../../lib/route.js";
import { t } from "../../lib/words.js";
import { Account } from "./account.js";
import { Ask } from "./ask.js";
import "../../words/accounts.js";

/** The plan that is always there, and that accounts have when nobody says. */
const DEFAULT_PLAN = "default";

export default function Accounts({ parts: [name] }) {
  return name === undefined ? html`<${List} />` : html`<${Account} key=${name} name=${name} />`;
}

/** "open", "frozen" or "closed", in words and colour. */
export function Standing({ account }) {
  const word = account.closed_at ? "closed" : account.frozen_at ? "frozen" : "open";
  const kind = { closed: "bad", frozen: "warn", open: "good" }[word];
  return html`<${Badge} kind=${kind}>${t(`accounts.${word}`)}<//>`;
}

function List() {
  const [creating, setCreating] = useState(false);
  const from = useLoad((signal) => api("/api/v1/admin/accounts", { signal }), [], { every: 5_000 });
  return html`
    <${Page}
      title=${t("pages.accounts")}
      actions=${html`
        <${Button} kind="primary" icon="plus" onClick=${() => setCreating(true)}>${t("accounts.create")}<//>
      `}
    >
      <${Card}>
        <${Loaded} from=${from}>
          ${({ data }) => html`
            <${Table}
              caption=${t("pages.accounts")}
              empty=${t("accounts.none")}
              rows=${data}
              columns=${[
                {
                  title: t("accounts.name"),
                  cell: ({ name }) => html`
                    <a class="long-name" href=${link(["accounts", name])}><bdi>${name}</bdi></a>
                  `,
                },
                { title: t("accounts.state"), cell: (account) => html`<${Standing} account=${account} />` },
                {
                  title: t("accounts.plan"),
                  hideOnPhone: true,
                  cell: ({ plan }) => html`<bdi>${plan}</bdi>`,
                },
                { title: t("common.balance"), number: true, cell: ({ balance }) => number(balance) },
                {
                  title: t("accounts.used"),
                  number: true,
                  hideOnPhone: true,
                  cell: (account) => number(account.total_usage),
                },
                {
                  title: t("accounts.created"),
                  hideOnPhone: true,
                  cell: (account) => html`<time>${date(account.created_at)}</time>`,
                },
              ]}
            />
          `}
        <//>
      <//>
      ${creating && html`<${Create} onClose=${() => setCreating(false)} />`}
    <//>
  `;
}

function Create({ onClose }) {
  const plans = useLoad((signal) => api("/api/v1/admin/plans", { signal }));
  const act = async (body) => {
    const { name } = await api("/api/v1/admin/accounts", { method: "POST", body });
    go(link(["accounts", name]));
  };
  return html`
    <${Ask}
      title=${t("accounts.create")}
      word=${t("accounts.create")}
      from=${plans}
      fields=${[
        { name: "name", label: t("accounts.name"), hint: t("accounts.name_hint"), required: true },
        {
          name: "plan",
          label: t("accounts.plan"),
          type: "select",
          options: (plans.data?.data ?? []).map(({ name }) => [name, name]),
          initial: DEFAULT_PLAN,
        },
      ]}
      act=${act}
      onClose=${onClose}
    />
  `;
}
