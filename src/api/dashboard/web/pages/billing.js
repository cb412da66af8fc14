// Billing & Plans: the balance, packs and how to pay for them, vouchers, what was bought, the plan,
// and being told when the balance is low.
import { html } from "../lib/ui.js";
import { api } from "../lib/api.js";
import { credits as balance } from "../lib/session.js";
import { useLoad } from "../lib/load.js";
import { Button, Loaded, Page } from "../lib/parts.js";
import { Icon } from "../lib/icons.js";
import { number } from "../lib/format.js";
import { t } from "../lib/words.js";
import { Packs } from "./billing/packs.js";
import { Order } from "./billing/order.js";
import { Voucher } from "./billing/voucher.js";
import { Purchases } from "./billing/purchases.js";
import { Plan } from "./billing/plan.js";
import { LowBalance } from "./billing/low_balance.js";
import "../words/billing.js";

export default function Billing({ query }) {
  const packs = useLoad((signal) => api("/api/v1/packs", { signal }));
  const topups = useLoad((signal) => api("/api/v1/topups", { signal }));
  const notice = useLoad((signal) => api("/api/v1/notices/low-balance", { signal }));

  return html`
    <${Page}
      title=${t("pages.billing")}
      lead=${t("billing.lead")}
      actions=${html`<${Button} icon="scales" href="#/pricing">${t("pages.pricing")}<//>`}
    >
      <div class="stack">
        <${Balance} notice=${notice.data?.data} />
        ${query.order && html`<${Order} key=${query.order} id=${query.order} onChange=${topups.reload} />`}
        <section aria-labelledby="packs">
          <h2 id="packs" class="billing-heading">${t("billing.packs")}</h2>
          <${Loaded} from=${packs}>${(list) => html`<${Packs} list=${list} onOrder=${topups.reload} />`}<//>
        </section>
        <${Voucher} />
        <${Purchases} from=${topups} />
        <div class="grid billing-settings">
          <${Plan} />
          <${LowBalance} from=${notice} />
        </div>
      </div>
    <//>
  `;
}

/** The balance in one line, and whether it is as low as somebody wants to know of. */
function Balance({ notice }) {
  const known = balance.use();
  const isLow = known && notice?.below && known.balance < notice.below;
  return html`
    <section class="card billing-balance" aria-label=${t("common.balance")}>
      <p class="balance-value" data-balance=${known?.balance}>
        <b>${known ? number(known.balance) : "–"}</b> <span>${t("billing.unit")}</span>
      </p>
      ${isLow &&
      html`<p class="billing-low">
        <${Icon} name="bell" />${t("billing.is_low", { n: number(notice.below) })}
      </p>`}
    </section>
  `;
}
