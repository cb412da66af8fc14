// Keys, one a line: what each may do, how much it may spend and has spent, and whether it still lets in.
import { html } from "../../lib/ui.js";
import { Badge, Button, Table } from "../../lib/parts.js";
import { ago, credits, date, dateTime, number } from "../../lib/format.js";
import { t } from "../../lib/words.js";

/** `used(key)`: credits of its limit's period, or nothing while that is not known. */
export const KeyTable = ({ caption, rows, used, onRevoke }) => html`
  <${Table}
    caption=${caption}
    empty=${t("keys.none")}
    rows=${rows}
    columns=${[
      {
        title: t("keys.label"),
        cell: (key) =>
          html`<b class="keys-label"><bdi>${key.label}</bdi></b>
            <small class="mono" dir="ltr">${key.prefix}…</small>`,
      },
      { title: t("keys.state"), cell: (key) => html`<${State} of=${key} used=${used(key)} />` },
      {
        title: t("keys.scopes"),
        hideOnPhone: true,
        cell: (key) => html`<span class="keys-scopes">
          ${key.scopes.map((scope) => html`<${Badge}>${t(`keys.scope_${scope}`)}<//>`)}
        </span>`,
      },
      { title: t("keys.spent"), cell: (key) => html`<${Spent} of=${key} used=${used(key)} />` },
      {
        title: t("keys.last_used"),
        hideOnPhone: true,
        cell: (key) => html`<${LastUsed} at=${key.last_used_at} />`,
      },
      {
        title: t("keys.end"),
        hideOnPhone: true,
        // Its last day: most end with a day, which is when the next one begins.
        cell: ({ expires_at: end }) =>
          end ? html`<time title=${dateTime(end)}>${date(end - 1)}</time>` : "–",
      },
      onRevoke && {
        title: "",
        number: true,
        cell: (key) => html`<${Button}
          kind="quiet"
          label=${t("keys.revoke_which", { label: key.label })}
          onClick=${() => onRevoke(key)}
        >
          ${t("keys.revoke")}
        <//>`,
      },
    ].filter(Boolean)}
  />
`;

function State({ of: key, used }) {
  if (key.revoked) return html`<${Badge} kind="bad">${t("keys.revoked")}<//>`;
  if (key.expired) return html`<${Badge}>${t("keys.expired")}<//>`;
  const isSpent =
    (key.total_limit !== null && key.usage >= key.total_limit) ||
    (key.limit !== null && used !== undefined && used >= key.limit);
  if (isSpent) return html`<${Badge} kind="warn">${t("keys.spent_up")}<//>`;
  return html`<${Badge} kind="good">${t("keys.is_active")}<//>`;
}

/** What it has spent, of what it may spend. */
const Spent = ({ of: key, used }) => html`
  <span class="keys-spent">${credits(key.usage)}</span>
  ${key.limit !== null &&
  html`<${Part}
    used=${used}
    limit=${key.limit}
    words=${t(`keys.per_${key.limit_reset ?? "life"}`, {
      limit: number(key.limit),
      used: used === undefined ? "–" : number(used),
    })}
  />`}
  ${key.total_limit !== null &&
  html`<${Part}
    used=${key.usage}
    limit=${key.total_limit}
    words=${t("keys.per_life", { limit: number(key.total_limit), used: number(key.usage) })}
  />`}
`;

const Part = ({ used, limit, words }) => html`
  <small class="keys-part">
    ${used !== undefined &&
    html`<progress value=${used} max=${Math.max(limit, 1)} aria-label=${words}></progress>`}
    ${words}
  </small>
`;

const LastUsed = ({ at }) =>
  at
    ? html`<time datetime=${new Date(at * 1000).toISOString()} title=${dateTime(at)}>${ago(at)}</time>`
    : t("keys.never");
