// Money by day and pack, in dinars, as the journal has it.
import { html } from "../../lib/ui.js";
import { api } from "../../lib/api.js";
import { useLoad } from "../../lib/load.js";
import { Card, Figure, Loaded, Page, Table } from "../../lib/parts.js";
import { DayChart } from "../../lib/chart.js";
import { lastDays, stacked } from "../../lib/days.js";
import { fils, kwdOf, money, number } from "../../lib/format.js";
import { t } from "../../lib/words.js";
import "../../words/payments.js";
import "../../words/sales.js";

const DAYS = 30;

export default function Revenue() {
  const from = useLoad((signal) => api("/api/v1/admin/revenue", { signal }), [], { every: 10_000 });
  const days = lastDays(DAYS);
  return html`
    <${Page} title=${t("pages.revenue")} lead=${t("sales.revenue_lead")}>
      <${Loaded} from=${from}>
        ${({ data, total }) => html`
          <div class="stack">
            <${Card} title=${t("sales.total")}>
              <dl class="figures">
                <${Figure} label=${t("sales.revenue")} value=${money(total.revenue_kwd)} />
                <${Figure} label=${t("sales.paid")} value=${money(total.paid_kwd)} />
                <${Figure} label=${t("sales.refunded")} value=${money(total.refunded_kwd)} />
              </dl>
            <//>
            <${Card} title=${t("sales.by_day")}>
              <${DayChart}
                title=${t("sales.by_day")}
                days=${days}
                groups=${stacked(data, days, "pack", (row) => fils(row.paid_kwd))}
                unit=${(n) => money(kwdOf(n))}
                tick=${kwdOf}
              />
            <//>
            <${Card} title=${t("sales.lines")}>
              <${Table}
                caption=${t("sales.lines")}
                empty=${t("sales.no_sales")}
                rowKey=${({ day, pack, provider }) => `${day} ${pack} ${provider}`}
                rows=${data.toReversed()}
                columns=${[
                  { title: t("common.day"), cell: (row) => html`<time>${row.day}</time>` },
                  { title: t("sales.pack"), cell: (row) => html`<bdi>${row.pack}</bdi>` },
                  {
                    title: t("sales.provider"),
                    hideOnPhone: true,
                    cell: (row) => t(`payments.provider_${row.provider}`),
                  },
                  {
                    title: t("sales.orders"),
                    number: true,
                    hideOnPhone: true,
                    cell: (row) => number(row.orders),
                  },
                  {
                    title: t("sales.credits"),
                    number: true,
                    hideOnPhone: true,
                    cell: (row) => number(row.credits),
                  },
                  { title: t("sales.paid"), number: true, cell: (row) => money(row.paid_kwd) },
                  {
                    title: t("sales.refunded"),
                    number: true,
                    hideOnPhone: true,
                    cell: (row) => money(row.refunded_kwd),
                  },
                ]}
              />
            <//>
          </div>
        `}
      <//>
    <//>
  `;
}
