// The two tiers, each with the models that this server has in it.
import { html } from "../../lib/ui.js";
import { Empty, Table } from "../../lib/parts.js";
import { credits, number } from "../../lib/format.js";
import { t } from "../../lib/words.js";

/** What an output token costs in each tier, in credits. */
export const TIERS = [
  ["standard", 1],
  ["premium", 2],
];

export const Tiers = ({ models }) => html`
  <div class="grid">
    ${TIERS.map(
      ([tier, cost]) => html`
        <article class="card tier">
          <h3>${t(`pricing.${tier}`)}</h3>
          <p class="tier-cost"><b>${credits(cost)}</b> ${t("pricing.each")}</p>
          <p>${t(`pricing.${tier}_words`)}</p>
          <${Models} tier=${tier} models=${models.filter((model) => model.tier === tier)} />
        </article>
      `,
    )}
  </div>
`;

const Models = ({ tier, models }) =>
  models.length === 0
    ? html`<${Empty} icon="cpu">${t("pricing.no_models")}<//>`
    : html`
        <${Table}
          caption=${t("pricing.models", { tier: t(`pricing.${tier}`) })}
          rows=${models}
          columns=${[
            { title: t("pricing.model"), cell: (model) => html`<bdi class="mono">${model.id}</bdi>` },
            { title: t("pricing.context"), number: true, cell: context },
          ]}
        />
      `;

const context = (model) =>
  model.context_length === null
    ? html`<small>${t("pricing.when_loaded")}</small>`
    : number(model.context_length);
