// Batches of vouchers; the codes of a new one are shown once, as a sheet to print and cut.
import { html, useEffect, useState } from "../../lib/ui.js";
import { api } from "../../lib/api.js";
import { useAction, useLoad } from "../../lib/load.js";
import { Badge, Button, Card, Confirm, Copy, Loaded, Page, Table } from "../../lib/parts.js";
import { credits, date, number } from "../../lib/format.js";
import { save } from "../../lib/save.js";
import { t } from "../../lib/words.js";
import { Ask } from "./ask.js";
import "../../words/sales.js";

/** The most that the server makes at once. */
const MAX_CODES = 10_000;

const WHOLE = { type: "number", min: 1, step: 1, dir: "ltr" };

export default function Vouchers() {
  const [making, setMaking] = useState(false);
  const [made, setMade] = useState(null);
  const [voiding, setVoiding] = useState(null);
  const from = useLoad((signal) => api("/api/v1/admin/vouchers", { signal }));
  const end = useAction(async () => {
    const path = `/api/v1/admin/vouchers/${encodeURIComponent(voiding.batch)}/void`;
    const batch = await api(path, { method: "POST", body: {} });
    await from.reload();
    return batch;
  });
  const make = async ({ batch, credits: each, count, expire_days: days }) => {
    const body = { batch, credits: Number(each), count: Number(count) };
    if (days) body.expire_days = Number(days);
    setMade(await api("/api/v1/admin/vouchers", { method: "POST", body }));
    from.reload();
  };
  if (made) return html`<${Sheet} batch=${made} onClose=${() => setMade(null)} />`;
  return html`
    <${Page}
      title=${t("pages.vouchers")}
      lead=${t("sales.vouchers_lead")}
      actions=${html`
        <${Button} kind="primary" icon="plus" onClick=${() => setMaking(true)}>${t("sales.make")}<//>
      `}
    >
      <${Card}>
        <${Loaded} from=${from}>
          ${({ data }) => html`
            <${Table}
              caption=${t("pages.vouchers")}
              empty=${t("sales.no_vouchers")}
              rowKey=${({ batch }) => batch}
              rows=${data}
              columns=${[
                {
                  title: t("sales.batch"),
                  cell: ({ batch }) => html`<b class="long-name"><bdi>${batch}</bdi></b>`,
                },
                { title: t("sales.each"), number: true, cell: (batch) => number(batch.credits) },
                {
                  title: t("sales.redeemed"),
                  number: true,
                  cell: (batch) => `${number(batch.redeemed)} / ${number(batch.count)}`,
                },
                {
                  title: t("sales.expires"),
                  hideOnPhone: true,
                  cell: (batch) => (batch.expires_at ? date(batch.expires_at) : t("sales.never")),
                },
                {
                  title: "",
                  cell: (batch) =>
                    batch.voided_at
                      ? html`<${Badge} kind="bad">${t("sales.voided")}<//>`
                      : batch.redeemed < batch.count &&
                        html`<${Button} kind="quiet" icon="trash" onClick=${() => setVoiding(batch)}>
                          ${t("sales.void")} <span class="for-readers">${batch.batch}</span>
                        <//>`,
                },
              ]}
            />
          `}
        <//>
      <//>
      ${making &&
      html`<${Ask}
        title=${t("sales.make")}
        lead=${t("sales.make_lead")}
        word=${t("sales.make")}
        fields=${[
          { name: "batch", label: t("sales.batch"), hint: t("sales.batch_hint"), required: true },
          { name: "credits", label: t("sales.each"), ...WHOLE, required: true },
          { name: "count", label: t("sales.count"), ...WHOLE, max: MAX_CODES, initial: "10", required: true },
          { name: "expire_days", label: t("sales.expire_days"), hint: t("sales.expire_hint"), ...WHOLE },
        ]}
        act=${make}
        onClose=${() => setMaking(false)}
      />`}
      ${voiding &&
      html`<${Confirm}
        title=${`${t("sales.void")}: ${voiding.batch}`}
        word=${t("sales.void")}
        action=${end}
        onClose=${() => setVoiding(null)}
      >
        ${t("sales.void_lead", { n: number(voiding.count - voiding.redeemed) })}
      <//>`}
    <//>
  `;
}

function csv({ batch, credits: each, codes }) {
  const name = `"${batch.replaceAll('"', '""')}"`;
  return ["code,credits,batch", ...codes.map((code) => `${code},${each},${name}`)].join("\r\n");
}

/** The codes, once: a card for each, cut along the lines. */
function Sheet({ batch, onClose }) {
  useEffect(() => {
    // Whoever leaves loses them, so the browser asks.
    const ask = (event) => event.preventDefault();
    addEventListener("beforeunload", ask);
    return () => removeEventListener("beforeunload", ask);
  }, []);
  return html`
    <${Page}
      title=${`${t("sales.batch")}: ${batch.batch}`}
      lead=${t("sales.once")}
      actions=${html`
        <${Button} kind="primary" icon="print" onClick=${() => print()}>${t("sales.print")}<//>
        <${Button}
          icon="down"
          onClick=${() => save(csv(batch), `vouchers-${batch.batch.replace(/[^\p{L}\p{N}_-]+/gu, "-")}.csv`, "text/csv")}
        >
          ${t("common.download_csv")}
        <//>
        <${Copy} text=${batch.codes.join("\n")} label=${t("sales.copy_codes")} />
        <${Button} onClick=${onClose}>${t("sales.finished")}<//>
      `}
    >
      <ul class="voucher-sheet">
        ${batch.codes.map(
          (code) => html`
            <li>
              <span class="voucher-brand">Mizan</span>
              <b>${credits(batch.credits)}</b>
              <code dir="ltr">${code}</code>
              <small>
                ${t("sales.how", { address: location.host })}
                ${batch.expires_at && html` ${t("sales.until", { day: date(batch.expires_at) })}`}
              </small>
            </li>
          `,
        )}
      </ul>
    <//>
  `;
}
