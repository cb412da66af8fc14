// One order: how to pay for it, and what became of it, followed until it is decided.
import { html, useEffect, useRef, useState } from "../../lib/ui.js";
import { api } from "../../lib/api.js";
import { readCredits } from "../../lib/session.js";
import { useLoad } from "../../lib/load.js";
import { Button, Code, Copy, Loaded } from "../../lib/parts.js";
import { credits, dateTime, money } from "../../lib/format.js";
import { link } from "../../lib/route.js";
import { t } from "../../lib/words.js";
import { isPage } from "./providers.js";
import { Status, isOpen, isPaid } from "./status.js";

/** The server asks a provider not more often than this, so neither do we ask the server. */
const EVERY = 5_000;

export function Order({ id, onChange }) {
  const heading = useRef(null);
  const before = useRef(null);
  const [follows, setFollows] = useState(true);
  const load = (signal) => api(`/api/v1/topups/${encodeURIComponent(id)}`, { signal });
  const from = useLoad(load, [id], { every: follows ? EVERY : undefined });
  const status = from.data?.status;
  const isUnknown = from.error?.status === 404;

  useEffect(() => heading.current?.focus(), []);
  useEffect(() => setFollows(!isUnknown && (!from.data || isOpen(from.data))), [status, isUnknown]);
  useEffect(() => {
    if (before.current && before.current !== status) {
      onChange();
      // The balance stands beside it.
      readCredits().catch(() => {});
    }
    before.current = status;
  }, [status]);

  return html`
    <section class="card order" aria-labelledby="order">
      <header class="card-head">
        <h2 id="order" ref=${heading} tabindex="-1">${t("billing.order_title")}</h2>
        <${Button}
          kind="quiet"
          icon="close"
          label=${t("common.close")}
          href="#/billing"
          onClick=${() => document.querySelector("h1").focus()}
        />
      </header>
      ${isUnknown
        ? html`<p>${t("billing.unknown_order")}</p>`
        : html`<${Loaded} from=${from}>
            ${(topup) => html`<${Stand} topup=${topup} reload=${from.reload} />`}
          <//>`}
    </section>
  `;
}

const Stand = ({ topup, reload }) => html`
  <div class="row">
    <b>${credits(topup.credits)}</b>
    <span>${money(topup.price_kwd)}</span>
    <span role="status"><${Status} topup=${topup} /></span>
  </div>
  <${Next} topup=${topup} reload=${reload} />
`;

/** What the customer does now. */
function Next({ topup, reload }) {
  if (isPaid(topup)) {
    return html`
      <p class="order-words">${paidWords(topup)}</p>
      <div class="actions">
        <${Button} kind="primary" icon="print" href=${link(["receipt", topup.id])}>${t("billing.receipt")}<//>
      </div>
    `;
  }
  if (topup.next?.type === "redirect" && isPage(topup.next.url)) {
    return html`
      <p class="order-words">${t("billing.redirect_words", { time: dateTime(topup.expires_at) })}</p>
      <div class="actions">
        <${Button} kind="primary" icon="card" href=${topup.next.url} rel="noreferrer">
          ${t("billing.to_payment")}
        <//>
        <${Button} icon="refresh" onClick=${reload}>${t("billing.check")}<//>
      </div>
    `;
  }
  if (topup.next?.type === "instructions") return html`<${Transfer} topup=${topup} />`;
  if (isOpen(topup)) return html`<p class="order-words">${t("billing.opening")}</p>`;
  return html`
    <p class="order-words">${t(`billing.words_${topup.status}`)} ${t("billing.late")}</p>
    <div class="actions">
      <${Button} icon="refresh" onClick=${reload}>${t("billing.check")}<//>
    </div>
  `;
}

const paidWords = (topup) =>
  topup.refunded_credits > 0
    ? t("billing.words_refunded", {
        amount: money(topup.refunded_kwd),
        credits: credits(topup.refunded_credits),
      })
    : t("billing.paid_words", { credits: credits(topup.credits) });

/** The operator's own words, and the two things that people copy from them. */
function Transfer({ topup }) {
  return html`
    <p class="order-words">${t("billing.transfer_words", { time: dateTime(topup.expires_at) })}</p>
    <blockquote dir="auto">${topup.next.text}</blockquote>
    <div class="grid">
      <div>
        <h3>${t("billing.reference")}</h3>
        <${Code} text=${topup.id} label=${t("billing.copy_reference")} />
      </div>
      <div>
        <h3>${t("billing.amount")}</h3>
        <${Code} text=${topup.price_kwd} label=${t("billing.copy_amount")} />
      </div>
    </div>
    <div class="actions">
      <${Copy} text=${topup.next.text} label=${t("billing.copy_all")} />
    </div>
    <p class="hint">${t("billing.watching")}</p>
  `;
}
