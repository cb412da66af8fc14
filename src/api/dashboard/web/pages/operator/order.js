// One order: what the books and the provider say of it, and what the operator may do with it.
import { html, useState } from "../../lib/ui.js";
import { api, newIdempotencyKey } from "../../lib/api.js";
import { useAction, useLoad } from "../../lib/load.js";
import { Button, Card, Loaded, Page, Problem, Table, say } from "../../lib/parts.js";
import { dateTime, money, number } from "../../lib/format.js";
import { link } from "../../lib/route.js";
import { t } from "../../lib/words.js";
import { Ask } from "./ask.js";
import { State } from "./payments.js";

const isPaid = ({ status }) => status === "paid" || status === "partially_refunded";

/** Of a bank transfer only the operator knows. */
const mayAsk = ({ provider }) => provider !== "manual";

export function Order({ id }) {
  const path = `/api/v1/admin/topups/${encodeURIComponent(id)}`;
  const from = useLoad(async (signal) => {
    const [order, { data }] = await Promise.all([
      api(path, { signal }),
      api("/api/v1/admin/reconciliation", { signal }),
    ]);
    // Money of this order that was taken and does not fit it.
    const aside = data.find((row) => row.id === order.id && row.needs === "settlement");
    return { ...order, aside: aside?.problem };
  });
  return html`
    <${Page}
      title=${t("payments.order")}
      actions=${html`<${Button} kind="quiet" href="#/payments">${t("payments.all")}<//>`}
    >
      <${Loaded} from=${from}>
        ${(order) => html`
          <div class="stack">
            <${Facts} order=${order} />
            <${Acts} order=${order} path=${path} reload=${from.reload} />
            <${History} order=${order} />
          </div>
        `}
      <//>
    <//>
  `;
}

function Facts({ order }) {
  const theirs = order.provider_payment_id ?? order.provider_order_id;
  const facts = [
    ["account", html`<a href=${link(["accounts", order.account])}><bdi>${order.account}</bdi></a>`],
    ["credits", number(order.credits)],
    ["amount", money(order.price_kwd)],
    ["refunded", money(order.refunded_kwd)],
    ["provider", t(`payments.provider_${order.provider}`)],
    ["reference", html`<code dir="ltr">${order.id}</code>`],
    ["provider_reference", html`<code dir="ltr">${theirs ?? "–"}</code>`],
    ["ordered", `${dateTime(order.created_at)} · ${order.actor}`],
    ["paid_at", order.paid_at ? dateTime(order.paid_at) : "–"],
  ];
  if (mayAsk(order)) facts.push(["asked_at", order.checked_at ? dateTime(order.checked_at) : "–"]);
  return html`
    <${Card} title=${t("payments.facts")} actions=${html`<${State} order=${order} />`}>
      <dl class="facts">
        ${facts.map(([name, value]) => html`<div><dt>${t(`payments.${name}`)}</dt><dd>${value}</dd></div>`)}
      </dl>
    <//>
  `;
}

function Acts({ order, path, reload }) {
  const [act, setAct] = useState(null);
  // One wish, however often it is sent: a lost answer must not refund twice.
  const [key, setKey] = useState(newIdempotencyKey);
  const check = useAction(async () => {
    try {
      await api(`${path}/check`, { method: "POST", body: {} });
    } finally {
      // A refusal may be the news: money that does not fit.
      await reload();
    }
    say(t("payments.asked"));
  });
  const post = (what, body) =>
    api(`${path}/${what}`, { method: "POST", body, headers: { "idempotency-key": key } });
  const forms = {
    confirm: {
      lead: t("payments.confirm_lead", { amount: money(order.price_kwd), reference: order.id }),
      fields: [
        {
          name: "amount_kwd",
          label: t("payments.arrived"),
          hint: t("payments.arrived_hint"),
          dir: "ltr",
          required: true,
        },
        { name: "reference", label: t("payments.bank"), hint: t("payments.bank_hint"), required: true },
      ],
      act: (values) => post("confirm", values),
    },
    refund: {
      lead: t("payments.refund_lead"),
      kind: "danger",
      fields: [
        {
          name: "credits",
          label: t("payments.refund_credits"),
          hint: t("payments.refund_hint", { n: number(order.credits - order.refunded_credits) }),
          type: "number",
          min: 1,
          max: order.credits - order.refunded_credits,
          dir: "ltr",
        },
        { name: "reason", label: t("payments.reason"), required: true },
      ],
      act: ({ credits, reason }) =>
        post("refunds", { reason, ...(credits !== "" && { credits: Number(credits) }) }),
    },
    settle: {
      lead: t("payments.settle_lead"),
      fields: [{ name: "note", label: t("payments.note"), hint: t("payments.note_hint"), required: true }],
      act: (values) => post("settle", values),
    },
  };
  const offers = [
    !isPaid(order) && order.status !== "refunded" && order.provider === "manual" && "confirm",
    isPaid(order) && "refund",
    order.aside && "settle",
  ].filter(Boolean);
  if (offers.length === 0 && !mayAsk(order)) return null;
  return html`
    <${Card} title=${t("payments.acts")}>
      ${order.aside && html`<div class="problem"><p dir="auto">${order.aside}</p></div>`}
      <div class="actions">
        ${offers.map(
          (offer) => html`
            <${Button}
              kind=${offer === "confirm" ? "primary" : offer === "refund" ? "danger" : ""}
              onClick=${() => setAct(offer)}
            >
              ${t(`payments.${offer}`)}
            <//>
          `,
        )}
        ${mayAsk(order) &&
        html`<${Button} icon="refresh" busy=${check.busy} onClick=${check.run}>${t("payments.check")}<//>`}
      </div>
      <${Problem} error=${check.error} />
      ${act &&
      html`<${Ask}
        title=${t(`payments.${act}`)}
        word=${t(`payments.${act}`)}
        done=${t("payments.done")}
        onClose=${() => {
          setAct(null);
          setKey(newIdempotencyKey());
          reload();
        }}
        ...${forms[act]}
      />`}
    <//>
  `;
}

const History = ({ order: { events, refunds } }) => html`
  <${Card} title=${t("payments.history")}>
    <${Table}
      caption=${t("payments.history")}
      empty=${t("payments.no_events")}
      rowKey=${(row) => row.key}
      rows=${[
        ...events.map((event, n) => ({ key: `e${n}`, at: event.received_at, what: event.verdict })),
        ...refunds.map((refund) => ({
          key: refund.id,
          at: refund.created_at,
          what: t("payments.refund_line", {
            amount: money(refund.amount_kwd),
            state: t(`payments.refund_${refund.status}`),
            reason: refund.reason,
          }),
        })),
      ].sort((a, b) => b.at - a.at)}
      columns=${[
        { title: t("payments.when"), cell: ({ at }) => html`<time>${dateTime(at)}</time>` },
        { title: t("payments.what"), cell: ({ what }) => html`<span dir="auto">${what}</span>` },
      ]}
    />
  <//>
`;
