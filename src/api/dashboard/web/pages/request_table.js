// Requests, one a line: on the first page the latest, on the usage page those that were asked for.
import { html } from "../lib/ui.js";
import { Badge, Table } from "../lib/parts.js";
import { ago, dateTime, duration, number } from "../lib/format.js";
import { t } from "../lib/words.js";
import "../words/usage.js";

const KINDS = { stop: "good", length: "warn", tool_calls: "good", running: "gold" };

/** How it ended, or that it runs: in the API's words, which people also meet in their code. */
const ending = (row) => row.finish_reason ?? row.status;

/** `whole`: with exact times, and cost for each; else as short as the first page needs. */
export function RequestTable({ rows, whole = false }) {
  return html`
    <${Table}
      caption=${t("usage.requests")}
      empty=${t("usage.no_requests")}
      rows=${rows}
      columns=${[
        {
          title: t("usage.when"),
          cell: (row) =>
            html`<time datetime=${new Date(row.created * 1000).toISOString()}>
              ${whole ? dateTime(row.created) : ago(row.created)}
            </time>`,
        },
        { title: t("usage.model"), cell: (row) => html`<bdi>${row.model}</bdi>` },
        { title: t("usage.key"), hideOnPhone: true, cell: (row) => html`<bdi>${row.key.label}</bdi>` },
        { title: t("usage.tokens_in"), number: true, hideOnPhone: true, cell: (row) => number(row.tokens_prompt) },
        { title: t("usage.tokens_out"), number: true, cell: (row) => number(row.tokens_completion) },
        { title: t("usage.credits"), number: true, cell: (row) => number(row.credits) },
        {
          title: t("usage.first_token"),
          number: true,
          hideOnPhone: true,
          cell: (row) => duration(row.time_to_first_token),
        },
        { title: t("usage.time"), number: true, hideOnPhone: true, cell: (row) => duration(row.generation_time) },
        {
          title: t("usage.finish"),
          cell: (row) => html`<${Badge} kind=${KINDS[ending(row)] ?? ""}>${ending(row)}<//>`,
        },
      ]}
    />
  `;
}
