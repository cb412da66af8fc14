// The same request under token pricing and under credits, side by side.
import { html, useState } from "../../lib/ui.js";
import { Card, Field } from "../../lib/parts.js";
import { credits, number } from "../../lib/format.js";
import { t } from "../../lib/words.js";
import { CreditBill, TokenBill } from "./bills.js";
import { parseCount, parseRate } from "./costs.js";
import { TIERS } from "./tiers.js";

/** A short e-mail, once a day; the rates of a well-known model, and of the dinar, at some time. */
const EXAMPLE = {
  requests: "30",
  input: "30",
  output: "150",
  inputRate: "2.50",
  outputRate: "10.00",
  exchange: "0.307",
};

const COUNTS = ["requests", "input", "output"];
const RATES = ["inputRate", "outputRate", "exchange"];

export function Calculator({ models, packs }) {
  const [texts, setTexts] = useState(EXAMPLE);
  const [chosen, setChosen] = useState("");
  const choices = choicesOf(models);
  const choice = choices.find(({ value }) => value === chosen) ?? choices[0];

  const values = Object.fromEntries([
    ...COUNTS.map((name) => [name, parseCount(texts[name])]),
    ...RATES.map((name) => [name, parseRate(texts[name])]),
  ]);
  const isWhole = Object.values(values).every((value) => value !== null);
  const field = (name, kind) => html`
    <${Field}
      key=${name}
      label=${t(`pricing.${name}`)}
      error=${values[name] === null ? t(`pricing.bad_${kind}`) : null}
      inputmode=${kind === "count" ? "numeric" : "decimal"}
      dir="ltr"
      autocomplete="off"
      value=${texts[name]}
      onValue=${(text) => setTexts({ ...texts, [name]: text })}
    />
  `;

  return html`
    <${Card} title=${t("pricing.calculator")} class="calculator">
      <p class="hint">${t("pricing.calculator_words")}</p>
      <div class="calculator-fields">
        <${Field}
          label=${t("pricing.model")}
          type="select"
          options=${choices.map(({ value, words }) => [value, words])}
          value=${choice.value}
          onValue=${setChosen}
        />
        ${COUNTS.map((name) => field(name, "count"))} ${RATES.map((name) => field(name, "rate"))}
      </div>
      <p class="hint">${t("pricing.example")}</p>
      <div class="grid bills">
        ${isWhole
          ? html`
              <${TokenBill} values=${values} />
              <${CreditBill} values=${values} cost=${choice.cost} packs=${packs} />
            `
          : html`<p class="hint" role="status">${t("pricing.incomplete")}</p>`}
      </div>
    <//>
  `;
}

/** The server's models, and any model of a tier that it has none in. */
function choicesOf(models) {
  const own = models.map((model) => ({
    value: model.id,
    cost: model.credit_multiplier,
    words: `${model.id} · ${t(`pricing.${model.tier}`)} · ${credits(model.credit_multiplier)}`,
  }));
  const others = TIERS.filter(([tier]) => !models.some((model) => model.tier === tier));
  return [
    ...own,
    ...others.map(([tier, cost]) => ({
      // No model is called so: ids have no spaces.
      value: `any ${tier}`,
      cost,
      words: t("pricing.any", { tier: t(`pricing.${tier}`), cost: credits(cost), n: number(cost) }),
    })),
  ];
}
