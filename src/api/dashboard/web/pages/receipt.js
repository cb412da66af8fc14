// The receipt of a purchase: a document to print, and how to check that this server signed it.
import { html } from "../lib/ui.js";
import { api, request } from "../lib/api.js";
import { useLoad } from "../lib/load.js";
import { Button, Code, Loaded, Page } from "../lib/parts.js";
import { credits, dateTime, money, number } from "../lib/format.js";
import { link } from "../lib/route.js";
import { save } from "../lib/save.js";
import { t } from "../lib/words.js";
import { providerName } from "./billing/providers.js";
import { Status, isPaid } from "./billing/status.js";
import "../words/billing.js";
import "../words/receipt.js";

export default function Receipt({ parts }) {
  const id = parts[0] ?? "";
  const from = useLoad((signal) => read(id, signal), [id]);
  const signed = from.data?.signed;
  return html`
    <${Page}
      title=${t("receipt.title")}
      actions=${html`
        <${Button} href="#/billing">${t("receipt.back")}<//>
        ${signed &&
        html`
          <${Button} icon="down" onClick=${() => save(from.data.text, fileOf(id))}>
            ${t("receipt.download")}
          <//>
          <${Button} kind="primary" icon="print" onClick=${() => print()}>${t("receipt.print")}<//>
        `}
      `}
    >
      ${from.error?.status === 404
        ? html`<p>${t("billing.unknown_order")}</p>`
        : html`<${Loaded} from=${from} lines=${10}>
            ${(read) => html`<${read.signed ? Document : Unpaid} ...${read} />`}
          <//>`}
    <//>
  `;
}

/** The order, and if it is paid the receipt: as it came, too, so that the file is the server's own. */
async function read(id, signal) {
  const path = `/api/v1/topups/${encodeURIComponent(id)}`;
  const topup = await api(path, { signal });
  if (!isPaid(topup)) return { topup };
  const [text, key] = await Promise.all([
    request(`${path}/receipt`, { signal }).then((response) => response.text()),
    api("/api/v1/receipt-key", { signal }),
  ]);
  return { topup, text, signed: JSON.parse(text), publicKey: key.data };
}

const fileOf = (id) => `mizan-receipt-${id}.json`;

const Unpaid = ({ topup }) => html`
  <div class="card">
    <p class="row"><${Status} topup=${topup} /> ${t("receipt.unpaid")}</p>
    <div class="form-buttons">
      <${Button} href=${link(["billing"], { order: topup.id })}>${t("receipt.to_order")}<//>
    </div>
  </div>
`;

function Document({ topup, signed, publicKey }) {
  const { receipt } = signed;
  return html`
    <article class="card receipt">
      <header>
        <p class="brand"><img src="/assets/icon.svg" alt="" width="36" height="36" /> Mizan</p>
        <p class="receipt-total">
          <small>${t("receipt.total")}</small>
          <b>${money(receipt.amount)}</b>
          <${Status} topup=${topup} />
        </p>
      </header>
      <dl class="receipt-lines">
        <${Line} name="number"><bdi class="mono">${receipt.request}</bdi><//>
        <${Line} name="server"><bdi>${location.host}</bdi><//>
        <${Line} name="account"><bdi>${receipt.account}</bdi><//>
        <${Line} name="paid_at">${dateTime(topup.paid_at)}<//>
        <${Line} name="bought">
          ${credits(receipt.credits)} (${t("receipt.pack")} <bdi>${receipt.pack}</bdi>)
        <//>
        <${Line} name="amount">${money(receipt.amount)}<//>
        <${Line} name="provider">${providerName(receipt.provider)}<//>
        <${Line} name="reference"><bdi class="mono">${receipt.reference}</bdi><//>
        ${topup.refunded_credits > 0 &&
        html`<${Line} name="refunded">${money(topup.refunded_kwd)} (${credits(topup.refunded_credits)})<//>`}
      </dl>
      <p class="hint">${t("receipt.never_expire")}</p>
      <${Proof} signed=${signed} publicKey=${publicKey} />
    </article>
  `;
}

/** What binds the receipt to the server's books, and the command that checks it without the server. */
function Proof({ signed, publicKey }) {
  const { receipt, signature } = signed;
  const check = `mizan ledger receipt check ${fileOf(receipt.request)} --key ${publicKey.public_key}`;
  const isOldKey = receipt.server_key !== publicKey.id;
  return html`
    <section class="receipt-proof" aria-labelledby="proof">
      <h2 id="proof">${t("receipt.proof")}</h2>
      <p>${t("receipt.proof_words")}</p>
      <dl class="receipt-lines">
        <${Line} name="entry">
          ${t("receipt.entry_value", { n: number(receipt.transfer.seq) })}${" "}
          <bdi class="mono">${receipt.transfer.time}</bdi>
        <//>
        <${Line} name="hash"><bdi class="mono">${receipt.transfer.hash}</bdi><//>
        <${Line} name="prev_hash"><bdi class="mono">${receipt.transfer.prev_hash}</bdi><//>
        <${Line} name="key"><bdi class="mono">${receipt.server_key}</bdi><//>
        <${Line} name="signature"><bdi class="mono">${signature}</bdi><//>
        ${!isOldKey &&
        html`<${Line} name="public_key"><bdi class="mono">${publicKey.public_key}</bdi><//>`}
      </dl>
      ${isOldKey
        ? html`<p>${t("receipt.old_key")}</p>`
        : html`<div class="not-printed">
            <p>${t("receipt.check_words")}</p>
            <${Code} text=${check} />
          </div>`}
    </section>
  `;
}

const Line = ({ name, children }) => html`
  <div>
    <dt>${t(`receipt.${name}`)}</dt>
    <dd>${children}</dd>
  </div>
`;
