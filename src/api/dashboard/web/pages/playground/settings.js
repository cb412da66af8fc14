// The model and the parameters of the next answer.
import { html, useEffect } from "../../lib/ui.js";
import { Card, Field } from "../../lib/parts.js";
import { credits, number } from "../../lib/format.js";
import { t } from "../../lib/words.js";
import { settings } from "./conversation.js";
import "../../words/pricing.js";

const set = (change) => settings.set({ ...settings.get(), ...change });

/** An empty field leaves the choice to the model. */
const read = (text) => (text === "" ? null : Number(text));

export function Settings({ models }) {
  const chosen = settings.use();
  const model = models.find(({ id }) => id === chosen.model) ?? models[0];
  useEffect(() => {
    if (model.id !== chosen.model) set({ model: model.id });
  }, [model.id, chosen.model]);
  const figure = (name, range, hint) => html`
    <${Field}
      label=${t(`playground.${name}`)}
      hint=${hint}
      type="number"
      inputmode="decimal"
      placeholder=${t("playground.default")}
      value=${chosen[name] ?? ""}
      onValue=${(text) => set({ [name]: read(text) })}
      dir="ltr"
      ...${range}
    />
  `;
  return html`
    <${Card} title=${t("playground.settings")} class="playground-settings">
      <${Field}
        label=${t("playground.model")}
        type="select"
        options=${models.map(({ id }) => [id, id])}
        value=${model.id}
        onValue=${(id) => set({ model: id })}
        hint=${t("playground.price", {
          tier: t(`pricing.${model.tier}`),
          cost: credits(model.credit_multiplier),
          context: model.context_length ? number(model.context_length) : "–",
        })}
      />
      <${Field}
        label=${t("playground.system")}
        type="textarea"
        rows="3"
        dir="auto"
        value=${chosen.system}
        onValue=${(system) => set({ system })}
      />
      ${figure("max_tokens", { min: 1, step: 1 }, t("playground.max_tokens_hint"))}
      <div class="pair">
        ${figure("temperature", { min: 0, max: 2, step: 0.1 })} ${figure("top_p", { min: 0, max: 1, step: 0.05 })}
      </div>
      ${figure("seed", { min: 0, step: 1 }, t("playground.seed_hint"))}
    <//>
  `;
}
