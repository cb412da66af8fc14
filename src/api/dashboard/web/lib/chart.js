// Bars by day, one colour for each group, on uPlot. Beside the picture stands the same as a table,
// which is what screen readers get and what anybody can open.
import { html, useEffect, useRef, useState } from "./ui.js";
import { day, number, short } from "./format.js";
import { language, t } from "./words.js";
import { theme } from "./theme.js";

let loading;

/** uPlot is a plain script: fetched with the first chart, then there for all. */
function uPlotLoaded() {
  loading ??= new Promise((resolve, reject) => {
    const style = Object.assign(document.createElement("link"), {
      rel: "stylesheet",
      href: "/assets/vendor/uplot.css",
    });
    const script = Object.assign(document.createElement("script"), {
      src: "/assets/vendor/uplot.js",
      onload: () => resolve(window.uPlot),
      onerror: reject,
    });
    document.head.append(style, script);
  });
  return loading;
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** The groups' colours, as CSS variables. */
export const groupColour = (index) => `--chart-${(index % 6) + 1}`;

/**
 * `days`: "2026-11-03", ...; `groups`: `[{ name, values }]`, a whole number for each day, drawn one
 * on the other. `unit(n)` says a value in words, `tick(n)` as short as an axis needs.
 */
export function DayChart({ title, days, groups, unit = number, tick = short, height = 220 }) {
  const frame = useRef(null);
  const [at, setAt] = useState(null);
  const look = theme.use();
  language.use();
  const totals = days.map((_, i) => groups.reduce((sum, group) => sum + group.values[i], 0));

  useEffect(() => {
    let chart;
    let left = false;
    const sized = new ResizeObserver(([entry]) =>
      chart?.setSize({ width: entry.contentRect.width, height }),
    );
    uPlotLoaded().then((uPlot) => {
      // Effects run after a paint, by when the page may have been left.
      if (left || !frame.current) return;
      // What is drawn later covers what was drawn before: the whole stack first, the lowest last.
      const stacks = groups.map((_, n) =>
        days.map((_, i) => groups.slice(0, n + 1).reduce((sum, group) => sum + group.values[i], 0)),
      );
      const data = [days.map((_, i) => i), ...stacks.slice().reverse()];
      const bars = uPlot.paths.bars({ size: [0.7, 48], radius: 0.15 });
      const axis = { stroke: colour("--muted"), font: "12px system-ui", ticks: { show: false } };
      chart = new uPlot(
        {
          width: frame.current.clientWidth,
          height,
          padding: [8, 28, 0, 0],
          legend: { show: false },
          cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
          scales: {
            x: { time: false, range: [-0.6, days.length - 0.4] },
            y: { range: (_, min, max) => [0, Math.max(max * 1.08, 1)] },
          },
          axes: [
            {
              ...axis,
              grid: { show: false },
              space: 56,
              incrs: [1, 2, 5, 7, 14, 30, 60],
              values: (_, splits) => splits.map((i) => (days[i] ? day(days[i]) : "")),
            },
            {
              ...axis,
              grid: { stroke: colour("--line"), width: 1 },
              size: 48,
              values: (_, splits) => splits.map((n) => (Number.isInteger(n) ? tick(n) : "")),
            },
          ],
          series: [
            {},
            ...groups
              .map((_, n) => ({ fill: colour(groupColour(n)), width: 0, paths: bars, points: { show: false } }))
              .reverse(),
          ],
          hooks: { setCursor: [(u) => setAt(u.cursor.idx ?? null)] },
        },
        data,
        frame.current,
      );
      sized.observe(frame.current);
    });
    return () => {
      left = true;
      sized.disconnect();
      chart?.destroy();
    };
  }, [JSON.stringify([days, groups]), look, height]);

  const shown = at === null || !days[at] ? null : at;
  return html`
    <figure class="chart">
      <div ref=${frame} dir="ltr" class="chart-frame" role="img" aria-label=${title}></div>
      <p class="chart-reading" aria-hidden="true">
        ${shown === null
          ? html`<span>${t("common.total", { n: unit(totals.reduce((a, b) => a + b, 0)) })}</span>`
          : html`<b>${day(days[shown])}</b> ${unit(totals[shown])}`}
      </p>
      ${groups.length > 1 &&
      html`<ul class="legend">
        ${groups.map(
          (group, n) => html`<li>
            <i style=${{ background: `var(${groupColour(n)})` }}></i>
            <bdi>${group.name}</bdi>
            ${shown !== null && html`<b>${unit(group.values[shown])}</b>`}
          </li>`,
        )}
      </ul>`}
      <details class="chart-table">
        <summary>${t("common.as_table")}</summary>
        <div class="table-frame" tabindex="0" role="group" aria-label=${title}>
          <table>
            <caption class="for-readers">${title}</caption>
            <thead>
              <tr>
                <th scope="col">${t("common.day")}</th>
                ${groups.map((group) => html`<th scope="col" class="number">${group.name}</th>`)}
              </tr>
            </thead>
            <tbody>
              ${days.map(
                (name, i) => html`<tr>
                  <th scope="row">${day(name)}</th>
                  ${groups.map((group) => html`<td class="number">${unit(group.values[i])}</td>`)}
                </tr>`,
              )}
            </tbody>
          </table>
        </div>
      </details>
    </figure>
  `;
}
