// Usage: credits by day, sums, and every request, of the account, or for the operator of all. What
// is shown stands in the address, so that it can be kept and passed on.
import { html } from "../lib/ui.js";
import { api, withQuery } from "../lib/api.js";
import { isOperator, me } from "../lib/session.js";
import { CsvLink } from "../lib/download.js";
import { useLoad } from "../lib/load.js";
import { Button, Card, Empty, Loaded, Page, Segmented } from "../lib/parts.js";
import { DayChart } from "../lib/chart.js";
import { stacked } from "../lib/days.js";
import { credits } from "../lib/format.js";
import { go, link } from "../lib/route.js";
import { t } from "../lib/words.js";
import { Filters } from "./usage/filters.js";
import { Log } from "./usage/log.js";
import { spanOf } from "./usage/span.js";
import { Sums, SumsTable } from "./usage/sums.js";
import "../words/usage.js";

export default function Usage({ query }) {
  const operator = isOperator(me.use());
  const root = operator ? "/api/v1/admin" : "/api/v1";
  const set = (change) => go(link(["usage"], { ...query, ...change }), { replace: true });
  const span = spanOf(query);
  return html`
    <${Page} wide title=${t("pages.usage")} lead=${t(operator ? "usage.lead_all" : "usage.lead")}>
      <div class="stack">
        <${Filters} root=${root} query=${query} span=${span} set=${set} operator=${operator} />
        ${span.days.length === 0
          ? html`<${Card}><${Empty} icon="chart">${t("usage.no_span")}<//><//>`
          : html`
              <${Used} root=${root} query=${query} span=${span} set=${set} operator=${operator} />
              <${Log} root=${root} query=${query} span=${span} set=${set} operator=${operator} />
            `}
      </div>
    <//>
  `;
}

/** What the table can tell apart: accounts where there are several. */
const waysOf = (isOfAll) => (isOfAll ? ["day", "account", "model", "key"] : ["day", "model", "key"]);

function Used({ root, query, span, set, operator }) {
  const ways = waysOf(operator && !query.account);
  const by = ways.includes(query.by) ? query.by : "day";
  // The chart has the days already, so it then shows models.
  const colours = by === "day" ? "model" : by;
  // The sums come for each of these, and the filters choose among them.
  const told = ways.filter((way) => way === "day" || way === colours || query[way]);
  const asked = {
    account: operator ? query.account : undefined,
    from: span.from,
    to: span.to,
    group_by: told.join(","),
  };
  const path = withQuery(`${root}/usage`, asked);
  const read = useLoad(async (signal) => ({ ...(await api(path, { signal })), told }), [path]);
  // Rows that were read before, for less than is asked now, can not be shown by it.
  const isEnough = read.data && told.every((way) => read.data.told.includes(way));
  const usage = isEnough ? read : { ...read, data: undefined };
  const isShown = (row) =>
    (!query.model || row.model === query.model) && (!query.key || String(row.key.id) === query.key);
  return html`
    <${Card}
      title=${t("usage.chart")}
      actions=${html`<${Button} kind="quiet" icon="refresh" onClick=${usage.reload}>
        ${t("usage.refresh")}
      <//>`}
    >
      <${Loaded} from=${usage} lines=${8}>
        ${({ data }) => {
          const rows = data.filter(isShown);
          return html`
            <${Sums} rows=${rows} />
            <${DayChart}
              title=${t("usage.chart")}
              days=${span.days}
              groups=${stacked(rows, span.days, colours)}
              unit=${credits}
            />
          `;
        }}
      <//>
    <//>
    <${Card}
      title=${t("usage.sums")}
      actions=${html`
        <${Segmented}
          label=${t("usage.told_apart")}
          options=${ways.map((way) => [way, t(`usage.by_${way}`)])}
          value=${by}
          onValue=${(way) => set({ by: way })}
        />
        <${CsvLink} href=${withQuery(`${root}/usage`, { ...asked, format: "csv" })} />
      `}
    >
      <${Loaded} from=${usage}>
        ${({ data }) => html`<${SumsTable} rows=${data.filter(isShown)} by=${by} />`}
      <//>
    <//>
  `;
}
