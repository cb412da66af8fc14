// An account's first page: the balance, how long it lasts, where it went, and the latest requests.
import { html, useEffect, useState } from "../lib/ui.js";
import { api, withQuery } from "../lib/api.js";
import { credits as balance, may } from "../lib/session.js";
import { useLoad } from "../lib/load.js";
import { Button, Card, Figure, Loaded, Page, Segmented } from "../lib/parts.js";
import { Icon } from "../lib/icons.js";
import { DayChart } from "../lib/chart.js";
import { dailyUse, daysLeft, lastDays, stacked } from "../lib/days.js";
import { credits, number } from "../lib/format.js";
import { t } from "../lib/words.js";
import { RequestTable } from "./request_table.js";
import "../words/home.js";

/** Days of the chart, and those that the rate is taken from. */
const CHART_DAYS = 30;
const RATE_DAYS = 7;
const EVERY = 5_000;

export default function Home() {
  if (!may("usage")) return html`<${Page} title=${t("pages.home")} lead=${t("home.no_scope")} />`;
  return html`<${Overview} />`;
}

function Overview() {
  const [by, setBy] = useState("model");
  const days = lastDays(CHART_DAYS);
  const usage = useLoad(
    async (signal) => {
      const query = { from: days[0], group_by: `day,${by}` };
      return { ...(await api(withQuery("/api/v1/usage", query), { signal })), by };
    },
    [by, days[0]],
    { every: EVERY },
  );
  const requests = useLoad((signal) => api("/api/v1/generations?limit=8", { signal }), [], { every: EVERY });
  return html`
    <${Page} title=${t("pages.home")}>
      <div class="stack">
        ${may("billing") && html`<${LowBalance} />`}
        <${Balance} usage=${usage.data} />
        <${Card}
          title=${t("home.chart")}
          actions=${html`<${Segmented}
            label=${t("home.by")}
            options=${[["model", t("home.by_model")], ["key", t("home.by_key")]]}
            value=${by}
            onValue=${setBy}
          />`}
        >
          <${Loaded} from=${usage}>
            ${(data) => html`
              <${DayChart}
                title=${t("home.chart")}
                days=${days}
                groups=${stacked(data.data, days, data.by)}
                unit=${credits}
              />
            `}
          <//>
        <//>
        <${Card}
          title=${t("home.recent")}
          actions=${html`<${Button} kind="quiet" href="#/usage">${t("home.all")}<//>`}
        >
          <${Loaded} from=${requests}>${(page) => html`<${RequestTable} rows=${page.data} />`}<//>
        <//>
      </div>
    <//>
  `;
}

/** Said when the balance is below what the team wants to be told of. */
function LowBalance() {
  const known = balance.use();
  const notice = useLoad((signal) => api("/api/v1/notices/low-balance", { signal }));
  const below = notice.data?.data.below;
  if (!known || !below || known.balance >= below) return null;
  return html`
    <div class="notice" role="status">
      <${Icon} name="bell" />
      <p>${t("home.low", { below: credits(below) })}</p>
    </div>
  `;
}

/** The balance, large; it moves to each new value rather than jumping. */
function Balance({ usage }) {
  const known = balance.use();
  const shown = useMoving(known?.balance);
  const rate = usage && dailyUse(usage.data, RATE_DAYS);
  const left = known && rate !== undefined ? daysLeft(known.balance, rate) : undefined;
  return html`
    <section class="card balance" aria-label=${t("common.balance")}>
      <div>
        <p class="balance-label">${t("common.balance")}</p>
        <p class="balance-value" data-balance=${known?.balance}>
          <b>${shown === undefined ? "–" : number(shown)}</b> <span>${t("home.unit")}</span>
        </p>
      </div>
      <dl class="figures">
        <${Figure}
          label=${t("home.left")}
          value=${left === undefined ? "–" : left === null ? t("home.long") : t("home.days", { count: left, n: number(left) })}
          note=${rate === undefined ? undefined : t("home.rate", { n: number(rate) })}
        />
        <${Figure} label=${t("home.used")} value=${known ? number(known.total_usage) : "–"} note=${t("home.ever")} />
        <${Figure} label=${t("home.had")} value=${known ? number(known.total_credits) : "–"} note=${t("home.bought")} />
      </dl>
      <div class="actions">
        ${may("billing") && html`<${Button} kind="primary" icon="plus" href="#/billing">${t("home.buy")}<//>`}
        <${Button} icon="chat" href="#/playground">${t("home.try")}<//>
      </div>
    </section>
  `;
}

/** `target`, reached in a third of a second; at once for those who want no motion. */
function useMoving(target) {
  const [shown, setShown] = useState(target);
  useEffect(() => {
    if (target === undefined) return;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (shown === undefined || still) return setShown(target);
    const [from, began] = [shown, performance.now()];
    let frame = requestAnimationFrame(function step(now) {
      const part = Math.min(1, (now - began) / 300);
      setShown(Math.round(from + (target - from) * part));
      if (part < 1) frame = requestAnimationFrame(step);
    });
    return () => cancelAnimationFrame(frame);
  }, [target]);
  return shown;
}
