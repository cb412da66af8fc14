// What the account ordered, the newest first.
import { html } from "../../lib/ui.js";
import { Button, Card, Loaded, Table } from "../../lib/parts.js";
import { credits, date, money, number } from "../../lib/format.js";
import { link } from "../../lib/route.js";
import { t } from "../../lib/words.js";
import { providerName } from "./providers.js";
import { Status, isOpen, isPaid } from "./status.js";

export const Purchases = ({ from }) => html`
  <${Card} title=${t("billing.purchases")}>
    <${Loaded} from=${from}>
      ${(list) => html`
        <${Table}
          caption=${t("billing.purchases_table")}
          empty=${t("billing.no_purchases")}
          rows=${list.data}
          columns=${columns()}
        />
      `}
    <//>
  <//>
`;

const columns = () => [
  {
    title: t("billing.when"),
    cell: (topup) =>
      html`<time datetime=${new Date(topup.created_at * 1000).toISOString()}>
        ${date(topup.created_at)}
      </time>`,
  },
  { title: t("billing.state"), cell: (topup) => html`<${Status} topup=${topup} />` },
  {
    title: t("billing.credits"),
    number: true,
    hideOnPhone: true,
    cell: (topup) => number(topup.credits),
  },
  { title: t("billing.amount"), number: true, cell: (topup) => money(topup.price_kwd) },
  {
    title: t("billing.refunded"),
    number: true,
    hideOnPhone: true,
    cell: (topup) => (topup.refunded_credits > 0 ? html`<${Refund} topup=${topup} />` : "–"),
  },
  { title: t("billing.provider"), hideOnPhone: true, cell: (topup) => providerName(topup.provider) },
  { title: "", number: true, cell: (topup) => html`<${Where} topup=${topup} />` },
];

const Refund = ({ topup }) => html`
  ${money(topup.refunded_kwd)}<br /><small>${credits(topup.refunded_credits)}</small>
`;

/** To the receipt of what is paid, or to the order that still can be. */
function Where({ topup }) {
  const paid = isPaid(topup);
  const word = t(paid ? "billing.receipt" : isOpen(topup) ? "billing.pay_now" : "billing.show");
  const which = t("billing.order_of", { credits: credits(topup.credits), day: date(topup.created_at) });
  return html`
    <${Button}
      kind="quiet"
      icon=${paid ? "print" : undefined}
      href=${paid ? link(["receipt", topup.id]) : link(["billing"], { order: topup.id })}
      label="${word}: ${which}"
    >
      ${word}
    <//>
  `;
}
