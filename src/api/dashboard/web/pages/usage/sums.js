// Sums of what was used: all of it in figures, and a line for each day, model, key or account.
import { html } from "../../lib/ui.js";
import { Figure, Table } from "../../lib/parts.js";
import { day, number, percent } from "../../lib/format.js";
import { t } from "../../lib/words.js";

const NOTHING = { requests: 0, input_tokens: 0, output_tokens: 0, credits: 0, reversed: 0 };

const add = (sum, row) =>
  Object.fromEntries(Object.entries(sum).map(([name, value]) => [name, value + row[name]]));
const total = (rows) => rows.reduce(add, NOTHING);

export function Sums({ rows }) {
  const sum = total(rows);
  return html`
    <dl class="figures usage-figures">
      <${Figure} label=${t("usage.requests")} value=${number(sum.requests)} />
      ${["in", "out"].map(
        (way) => html`<${Figure}
          label=${t(`usage.tokens_${way}`)}
          value=${number(way === "in" ? sum.input_tokens : sum.output_tokens)}
          note=${t("usage.tokens")}
        />`,
      )}
      <${Figure}
        label=${t("usage.credits")}
        value=${number(sum.credits)}
        note=${sum.reversed > 0 ? t("usage.reversed", { n: number(sum.reversed) }) : undefined}
      />
    </dl>
  `;
}

const nameOf = {
  day: (row) => html`<time datetime=${row.day}>${day(row.day)}</time>`,
  account: (row) => html`<bdi>${row.account}</bdi>`,
  model: (row) => html`<bdi>${row.model}</bdi>`,
  key: (row) => html`<bdi>${row.key.label}</bdi> <small class="mono" dir="ltr">${row.key.prefix}…</small>`,
};

export function SumsTable({ rows, by }) {
  const all = total(rows);
  const lines = grouped(rows, by);
  return html`
    <${Table}
      caption=${t("usage.sums")}
      empty=${t("usage.nothing")}
      rows=${lines}
      rowKey=${(row) => idOf(row, by)}
      columns=${[
        { title: t(`usage.${by}`), cell: nameOf[by] },
        { title: t("usage.requests"), number: true, cell: (row) => number(row.requests) },
        {
          title: t("usage.tokens_in"),
          number: true,
          hideOnPhone: true,
          cell: (row) => number(row.input_tokens),
        },
        { title: t("usage.tokens_out"), number: true, cell: (row) => number(row.output_tokens) },
        { title: t("usage.credits"), number: true, cell: (row) => number(row.credits) },
        {
          title: t("usage.part"),
          number: true,
          hideOnPhone: true,
          cell: (row) => (all.credits > 0 ? percent(row.credits / all.credits) : "–"),
        },
      ]}
    />
  `;
}

const idOf = (row, by) => (by === "key" ? row.key.id : row[by]);

/** One line for each: days from the newest on, everything else from the dearest on. */
function grouped(rows, by) {
  const groups = Map.groupBy(rows, (row) => idOf(row, by));
  const lines = [...groups.values()].map((own) => ({ [by]: own[0][by], ...total(own) }));
  const order = by === "day" ? (a, b) => (a.day < b.day ? 1 : -1) : (a, b) => b.credits - a.credits;
  return lines.sort(order);
}
