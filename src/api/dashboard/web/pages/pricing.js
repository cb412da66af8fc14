// How billing works: the five steps, the tiers with this server's models, what a credit costs, and
// the same request billed both ways.
import { html } from "../lib/ui.js";
import { api } from "../lib/api.js";
import { may } from "../lib/session.js";
import { useLoad } from "../lib/load.js";
import { Button, Card, Loaded, Page, Table } from "../lib/parts.js";
import { Icon } from "../lib/icons.js";
import { money, number } from "../lib/format.js";
import { t } from "../lib/words.js";
import { Tiers } from "./pricing/tiers.js";
import { Calculator } from "./pricing/calculator.js";
import "../words/pricing.js";

const STEPS = ["ask", "answer", "count", "deduct", "update"];
const FREE = ["input", "ends", "drafts", "embeddings", "errors"];
const COUNTED = ["output", "reasoning", "calls", "choices", "cut"];

export default function Pricing() {
  const models = useLoad((signal) => api("/api/v1/models", { signal }));
  // Whoever may not buy is not told the prices; what a request costs in credits holds for all.
  const packs = useLoad((signal) => (may("billing") ? api("/api/v1/packs", { signal }) : { data: [] }));
  return html`
    <${Page}
      title=${t("pages.pricing")}
      lead=${t("pricing.lead")}
      actions=${html`
        <${Button} icon="code" href="#/docs">${t("pages.docs")}<//>
        ${may("billing") &&
        html`<${Button} kind="primary" icon="plus" href="#/billing">${t("pricing.buy")}<//>`}
      `}
    >
      <div class="stack">
        <${Card} title=${t("pricing.steps")}>
          <ol class="steps">
            ${STEPS.map(
              (step) => html`
                <li>
                  <h3>${t(`pricing.step_${step}`)}</h3>
                  <p>${t(`pricing.step_${step}_words`)}${step === STEPS[0] && html` <${Address} />`}</p>
                </li>
              `,
            )}
          </ol>
        <//>
        <section aria-labelledby="tiers">
          <h2 id="tiers" class="billing-heading">${t("pricing.tiers")}</h2>
          <${Loaded} from=${models}>${(list) => html`<${Tiers} models=${list.data} />`}<//>
        </section>
        <div class="grid">
          <${What} title=${t("pricing.counted")} icon="coins" names=${COUNTED} />
          <${What} title=${t("pricing.free")} icon="gift" names=${FREE} />
        </div>
        ${may("billing") &&
        html`<${Card} title=${t("pricing.packs")}>
          <${Loaded} from=${packs}>${(list) => html`<${Packs} packs=${list.data} />`}<//>
        <//>`}
        <${Loaded} from=${packs}>
          ${(list) => html`<${Calculator} models=${models.data?.data ?? []} packs=${list.data} />`}
        <//>
      </div>
    <//>
  `;
}

const Address = () => html`<code dir="ltr">/api/v1/<wbr />chat/completions</code>`;

const What = ({ title, icon, names }) => html`
  <${Card} title=${title}>
    <ul class="what">
      ${names.map((name) => html`<li><${Icon} name=${icon} />${t(`pricing.what_${name}`)}</li>`)}
    </ul>
  <//>
`;

const Packs = ({ packs }) => html`
  <${Table}
    caption=${t("pricing.packs_table")}
    empty=${t("pricing.no_packs")}
    rows=${packs}
    columns=${[
      { title: t("pricing.pack"), cell: (pack) => number(pack.credits) },
      { title: t("pricing.price"), number: true, cell: (pack) => money(pack.price_kwd) },
      { title: t("pricing.per_credit"), number: true, cell: (pack) => money(pack.price_per_credit_kwd) },
      {
        title: t("pricing.standard_token"),
        number: true,
        hideOnPhone: true,
        cell: (pack) => number(pack.credits),
      },
      {
        title: t("pricing.premium_token"),
        number: true,
        hideOnPhone: true,
        cell: (pack) => number(Math.floor(pack.credits / 2)),
      },
    ]}
  />
  <p class="hint billing-note">${t("pricing.packs_words")}</p>
`;
