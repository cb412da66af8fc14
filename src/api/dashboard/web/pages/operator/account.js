// One account as its operator sees it: what it has, what may be done to it, its keys and its use.
import { html, useState } from "../../lib/ui.js";
import { api, withQuery } from "../../lib/api.js";
import { useLoad } from "../../lib/load.js";
import { Button, Card, Figure, Loaded, Page } from "../../lib/parts.js";
import { DayChart } from "../../lib/chart.js";
import { lastDays, stacked } from "../../lib/days.js";
import { credits, date, number } from "../../lib/format.js";
import { link } from "../../lib/route.js";
import { t } from "../../lib/words.js";
import { LowBalance } from "../billing/low_balance.js";
import { Act } from "./account_acts.js";
import { AccountKeys } from "./account_keys.js";
import { Standing } from "./accounts.js";
import "../../words/billing.js";

const DAYS = 30;

export function Account({ name }) {
  const path = `/api/v1/admin/accounts/${encodeURIComponent(name)}`;
  const [act, setAct] = useState(null);
  const from = useLoad((signal) => api(path, { signal }), [], { every: 3_000 });
  const button = (which, icon, kind) => html`
    <${Button} kind=${kind} icon=${icon} onClick=${() => setAct(which)}>${t(`accounts.${which}`)}<//>
  `;
  return html`
    <${Page}
      title=${name}
      actions=${html`<${Button} kind="quiet" href="#/accounts">${t("accounts.all")}<//>`}
    >
      <${Loaded} from=${from}>
        ${(account) => html`
          <div class="stack">
            <${Card} title=${t("accounts.stands")} actions=${html`<${Standing} account=${account} />`}>
              <dl class="figures">
                <${Figure} label=${t("common.balance")} value=${number(account.balance)} />
                <${Figure}
                  label=${t("accounts.used")}
                  value=${number(account.total_usage)}
                  note=${account.open > 0 && t("accounts.running", { n: number(account.open) })}
                />
                <${Figure} label=${t("accounts.received")} value=${number(account.total_credits)} />
                <${Figure}
                  label=${t("accounts.plan")}
                  value=${account.plan}
                  note=${t("accounts.since", { day: date(account.created_at) })}
                />
              </dl>
              ${!account.closed_at &&
              html`<div class="actions account-acts">
                ${button("grant", "gift", "primary")} ${button("correct", "coins")}
                ${button("change_plan", "scales")} ${button(account.frozen_at ? "thaw" : "freeze", "shield")}
                ${button("close", "close", "danger")}
              </div>`}
            <//>
            <${Use} name=${name} />
            <${AccountKeys} account=${account} path=${path} reload=${from.reload} />
            ${!account.closed_at && html`<${Notices} root=${`${path}/notices`} />`}
            <div class="actions">
              <${Button} icon="users" href=${link(["users"], { account: name })}>${t("pages.users")}<//>
              <${Button} icon="list" href=${link(["usage"], { account: name })}>${t("pages.usage")}<//>
              <${Button} icon="card" href=${link(["payments"], { account: name })}>${t("pages.payments")}<//>
            </div>
            ${act &&
            html`<${Act}
              which=${act}
              account=${account}
              path=${path}
              onClose=${() => {
                setAct(null);
                from.reload();
              }}
            />`}
          </div>
        `}
      <//>
    <//>
  `;
}

function Notices({ root }) {
  const from = useLoad((signal) => api(`${root}/low-balance`, { signal }), [root]);
  return html`<${LowBalance} from=${from} root=${root} who=${t("accounts.notice_on")} />`;
}

function Use({ name }) {
  const days = lastDays(DAYS);
  const query = { account: name, from: days[0], group_by: "day,model" };
  const from = useLoad((signal) => api(withQuery("/api/v1/admin/usage", query), { signal }), [days[0]]);
  return html`
    <${Card} title=${t("accounts.use")}>
      <${Loaded} from=${from}>
        ${({ data }) => html`
          <${DayChart}
            title=${t("accounts.use")}
            days=${days}
            groups=${stacked(data, days, "model")}
            unit=${credits}
          />
        `}
      <//>
    <//>
  `;
}
