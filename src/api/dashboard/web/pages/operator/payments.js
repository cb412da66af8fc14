// Money that waits for somebody, and every order: `#/payments`, one of them at `#/payments/ID`.
import { html } from "../../lib/ui.js";
import { api, withQuery } from "../../lib/api.js";
import { useLoad } from "../../lib/load.js";
import { Badge, Button, Card, Field, Loaded, Page, Table } from "../../lib/parts.js";
import { dateTime, money, number } from "../../lib/format.js";
import { go, link } from "../../lib/route.js";
import { t } from "../../lib/words.js";
import { Order } from "./order.js";
import { Refunds } from "./refunds.js";
import "../../words/payments.js";

const EVERY = 5_000;
/** The API lists no more than the latest so many. */
const MOST = 500;
const STATES = ["created", "pending", "paid", "failed", "expired", "cancelled"];
const PROVIDERS = ["manual", "tap", "myfatoorah"];
const KINDS = { paid: "good", pending: "gold", created: "gold", failed: "bad", partially_refunded: "warn" };

const NEEDS = { settlement: "bad", confirmation: "gold", payment: "" };

/** An order's state, in words and colour. */
export const State = ({ order }) =>
  html`<${Badge} kind=${KINDS[order.status]}>${t(`payments.state_${order.status}`)}<//>`;

export default function Payments({ parts: [id], query }) {
  if (id !== undefined) return html`<${Order} key=${id} id=${id} />`;
  return html`
    <${Page} title=${t("pages.payments")}>
      <div class="stack">
        <${ToDo} />
        <${Orders} query=${query} />
      </div>
    <//>
  `;
}

const order = (title, more = {}) => ({
  title,
  cell: ({ id, created_at: at }) =>
    html`<a class="long-name" href=${link(["payments", id])}><time>${dateTime(at)}</time></a>`,
  ...more,
});

/** What only the operator can decide. */
function ToDo() {
  const from = useLoad((signal) => api("/api/v1/admin/reconciliation", { signal }), [], { every: EVERY });
  return html`
    <${Card} title=${t("payments.to_do")}>
      <${Loaded} from=${from}>
        ${({ data, refunds }) => html`
          ${(data.length > 0 || refunds.length === 0) &&
          html`<${Table}
            caption=${t("payments.to_do")}
            empty=${t("payments.nothing")}
            rows=${data}
            columns=${[
              order(t("payments.ordered")),
              {
                title: t("payments.account"),
                hideOnPhone: true,
                cell: ({ account }) => html`<bdi>${account}</bdi>`,
              },
              {
                title: t("payments.amount"),
                number: true,
                cell: ({ price_kwd: price }) => money(price),
              },
              {
                title: t("payments.needs"),
                cell: ({ needs, problem }) => html`
                  <span class="needs">
                    <${Badge} kind=${NEEDS[needs]}>${t(`payments.needs_${needs}`)}<//>
                  </span>
                  ${problem && html`<br /><small dir="auto">${problem}</small>`}
                `,
              },
              {
                title: "",
                hideOnPhone: true,
                cell: ({ id }) => html`
                  <${Button} href=${link(["payments", id])}>
                    ${t("payments.look")} <span class="for-readers">${id}</span>
                  <//>
                `,
              },
            ]}
          />`}
          <${Refunds} refunds=${refunds} reload=${from.reload} />
        `}
      <//>
    <//>
  `;
}

function Orders({ query }) {
  const { account = "", status = "", provider = "" } = query;
  const asked = { account, status, provider };
  const from = useLoad(
    (signal) => api(withQuery("/api/v1/admin/topups", asked), { signal }),
    [account, status, provider],
  );
  const accounts = useLoad((signal) => api("/api/v1/admin/accounts", { signal }));
  const names = new Set((accounts.data?.data ?? []).map(({ name }) => name));
  // What the address asks for, before the names are read too.
  if (account) names.add(account);
  const set = (change) => go(link(["payments"], { ...asked, ...change }), { replace: true });
  const any = ["", t("payments.any")];
  const choices = (names, area) => [any, ...names.map((name) => [name, t(`payments.${area}_${name}`)])];
  return html`
    <${Card} title=${t("payments.orders")}>
      <div class="filters">
        <${Field}
          label=${t("payments.account")}
          type="select"
          options=${[any, ...[...names].map((name) => [name, name])]}
          value=${account}
          onValue=${(value) => set({ account: value })}
        />
        <${Field}
          label=${t("payments.state")}
          type="select"
          options=${choices(STATES, "state")}
          value=${status}
          onValue=${(value) => set({ status: value })}
        />
        <${Field}
          label=${t("payments.provider")}
          type="select"
          options=${choices(PROVIDERS, "provider")}
          value=${provider}
          onValue=${(value) => set({ provider: value })}
        />
      </div>
      <${Loaded} from=${from}>
        ${({ data }) => html`
          <${Table}
            caption=${t("payments.orders")}
            empty=${t("payments.no_orders")}
            rows=${data}
            columns=${[
              order(t("payments.ordered")),
              {
                title: t("payments.account"),
                hideOnPhone: true,
                cell: (row) => html`<bdi>${row.account}</bdi>`,
              },
              { title: t("payments.state"), cell: (row) => html`<${State} order=${row} />` },
              {
                title: t("payments.credits"),
                number: true,
                hideOnPhone: true,
                cell: (row) => number(row.credits),
              },
              { title: t("payments.amount"), number: true, cell: (row) => money(row.price_kwd) },
              {
                title: t("payments.provider"),
                hideOnPhone: true,
                cell: (row) => t(`payments.provider_${row.provider}`),
              },
            ]}
          />
          ${data.length >= MOST && html`<p class="hint">${t("payments.most", { n: number(MOST) })}</p>`}
        `}
      <//>
    <//>
  `;
}
