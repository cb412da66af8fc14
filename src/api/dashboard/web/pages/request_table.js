// Requests, one a line: on the first page the latest, on the usage page those that were asked for.
import { html } from "../lib/ui.js";
import { Badge, Table } from "../lib/parts.js";
import { ago, dateTime, decimal, duration, number } from "../lib/format.js";
import { t } from "../lib/words.js";
import "../words/usage.js";

const KINDS = { stop: "good", length: "warn", tool_calls: "good", running: "gold" };

/** How it ended, or that it runs: in the API's words, which people also meet in their code. */
export function Ending({ of: row }) {
  const word = row.finish_reason ?? row.status;
  return html`<${Badge} kind=${KINDS[word] ?? ""}>${word}<//>`;
}

/**
 * `whole`: with exact times and speeds; else as short as the first page needs. `accounts`: whose
 * each is, above its key. `onOpen(row)`: each can be opened.
 */
export function RequestTable({ rows, whole = false, accounts = false, onOpen }) {
  return html`
    <${Table}
      caption=${t("usage.requests")}
      empty=${t("usage.no_requests")}
      rows=${rows}
      columns=${[
        {
          title: t("usage.when"),
          cell: (row) => html`<${When} row=${row} whole=${whole} onOpen=${onOpen} />`,
        },
        accounts && {
          title: t("usage.account"),
          cell: (row) => html`<bdi>${row.account}</bdi><br />
            <small><bdi class="usage-key">${row.key.label}</bdi></small>`,
        },
        { title: t("usage.model"), cell: (row) => html`<bdi>${row.model}</bdi>` },
        !accounts && {
          title: t("usage.key"),
          hideOnPhone: true,
          cell: (row) => html`<bdi class="usage-key">${row.key.label}</bdi>`,
        },
        {
          title: t("usage.tokens_in"),
          number: true,
          hideOnPhone: true,
          cell: (row) => number(row.tokens_prompt),
        },
        { title: t("usage.tokens_out"), number: true, cell: (row) => number(row.tokens_completion) },
        { title: t("usage.credits"), number: true, cell: (row) => number(row.credits) },
        {
          title: t("usage.first_token"),
          number: true,
          hideOnPhone: true,
          cell: (row) => duration(row.time_to_first_token),
        },
        {
          title: t("usage.time"),
          number: true,
          hideOnPhone: true,
          cell: (row) => duration(row.generation_time),
        },
        whole && {
          title: t("usage.speed"),
          number: true,
          hideOnPhone: true,
          cell: (row) => (row.tokens_per_second === null ? "–" : decimal(row.tokens_per_second)),
        },
        { title: t("usage.finish"), cell: (row) => html`<${Ending} of=${row} />` },
      ].filter(Boolean)}
    />
  `;
}

function When({ row, whole, onOpen }) {
  const time = html`<time datetime=${new Date(row.created * 1000).toISOString()}>
    ${whole ? dateTime(row.created) : ago(row.created)}
  </time>`;
  if (!onOpen) return time;
  return html`<button
    type="button"
    class="usage-open"
    aria-label=${t("usage.which", { time: dateTime(row.created) })}
    onClick=${() => onOpen(row)}
  >
    ${time}
  </button>`;
}
