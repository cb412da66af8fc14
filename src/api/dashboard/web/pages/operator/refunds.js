// Refunds whose fate the provider did not tell: the operator looks there, and says what became of them.
import { html, useState } from "../../lib/ui.js";
import { api } from "../../lib/api.js";
import { Button, Table } from "../../lib/parts.js";
import { dateTime, money, number } from "../../lib/format.js";
import { link } from "../../lib/route.js";
import { t } from "../../lib/words.js";
import { Ask } from "./ask.js";

export function Refunds({ refunds, reload }) {
  const [settling, setSettling] = useState(null);
  if (refunds.length === 0) return null;
  return html`
    <h3 class="sub-head">${t("payments.refunds")}</h3>
    <${Table}
      caption=${t("payments.refunds")}
      rows=${refunds}
      columns=${[
        {
          title: t("payments.when"),
          cell: (refund) =>
            html`<a href=${link(["payments", refund.topup])}><time>${dateTime(refund.created_at)}</time></a>`,
        },
        { title: t("payments.amount"), number: true, cell: (refund) => money(refund.amount_kwd) },
        {
          title: t("payments.credits"),
          number: true,
          hideOnPhone: true,
          cell: (refund) => number(refund.credits),
        },
        {
          title: t("payments.reason"),
          hideOnPhone: true,
          cell: (refund) => html`<bdi>${refund.reason}</bdi>`,
        },
        {
          title: "",
          cell: (refund) => html`
            <${Button} onClick=${() => setSettling(refund)}>
              ${t("payments.refund_settle")} <span class="for-readers">${refund.id}</span>
            <//>
          `,
        },
      ]}
    />
    ${settling &&
    html`<${Ask}
      title=${t("payments.refund_settle")}
      lead=${t("payments.refund_settle_lead", { amount: money(settling.amount_kwd) })}
      word=${t("payments.refund_settle")}
      done=${t("payments.done")}
      fields=${[
        {
          name: "outcome",
          label: t("payments.outcome"),
          type: "select",
          options: [
            ["done", t("payments.outcome_done")],
            ["failed", t("payments.outcome_failed")],
          ],
          initial: "done",
        },
        { name: "reference", label: t("payments.outcome_reference") },
      ]}
      act=${async ({ outcome, reference }) => {
        const body = { outcome, ...(reference && { reference }) };
        await api(`/api/v1/admin/refunds/${settling.id}/settle`, { method: "POST", body });
        await reload();
      }}
      onClose=${() => setSettling(null)}
    />`}
  `;
}
