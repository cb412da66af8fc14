// The plans of models.toml, and who has which.
import { html } from "../../lib/ui.js";
import { api } from "../../lib/api.js";
import { useLoad } from "../../lib/load.js";
import { Card, Code, Loaded, Page, Table } from "../../lib/parts.js";
import { number } from "../../lib/format.js";
import { t } from "../../lib/words.js";
import "../../words/operator.js";

const LIMITS = [
  "max_requests_per_minute",
  "max_input_tokens_per_minute",
  "max_concurrent_requests",
  "max_prompt_tokens",
];

const EXAMPLE = `[plans.partner]
max_requests_per_minute = 300
max_input_tokens_per_minute = 1_000_000
max_concurrent_requests = 32
max_prompt_tokens = 32_768`;

export default function Plans() {
  const from = useLoad(async (signal) => {
    const [plans, accounts] = await Promise.all([
      api("/api/v1/admin/plans", { signal }),
      api("/api/v1/admin/accounts", { signal }),
    ]);
    return { plans: plans.data, accounts: accounts.data.filter(({ closed_at }) => !closed_at) };
  });
  return html`
    <${Page} title=${t("pages.plans")} lead=${t("operator.plans_lead")}>
      <div class="stack">
        <${Card}>
          <${Loaded} from=${from}>
            ${({ plans, accounts }) => html`
              <${Table}
                caption=${t("pages.plans")}
                rows=${plans}
                rowKey=${({ name }) => name}
                columns=${[
                  { title: t("operator.plan"), cell: ({ name }) => html`<b><bdi>${name}</bdi></b>` },
                  ...LIMITS.map((limit) => ({
                    title: t(`operator.${limit}`),
                    number: true,
                    cell: (plan) => (plan[limit] === null ? t("operator.no_limit") : number(plan[limit])),
                  })),
                  {
                    title: t("operator.accounts"),
                    number: true,
                    cell: ({ name }) => number(accounts.filter(({ plan }) => plan === name).length),
                  },
                ]}
              />
            `}
          <//>
        <//>
        <${Card} title=${t("operator.plan_new")}>
          <p>${t("operator.plan_edit")}</p>
          <${Code} text=${EXAMPLE} />
        <//>
      </div>
    <//>
  `;
}
