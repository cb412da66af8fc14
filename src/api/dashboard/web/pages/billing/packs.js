// What is for sale, and ordering it.
import { html, useState } from "../../lib/ui.js";
import { Badge, Button, Empty } from "../../lib/parts.js";
import { money, number } from "../../lib/format.js";
import { t } from "../../lib/words.js";
import { Buy } from "./buy.js";
import { bestPack, percentLess, smallestPack } from "./prices.js";

export function Packs({ list, onOrder }) {
  const [wanted, setWanted] = useState(null);
  const packs = list.data;
  if (packs.length === 0) return html`<${Empty} icon="card">${t("billing.no_packs")}<//>`;
  const best = bestPack(packs);
  return html`
    <ul class="packs">
      ${packs.map(
        (pack) => html`
          <li key=${pack.id}>
            <${PackCard}
              pack=${pack}
              best=${pack === best}
              smallest=${smallestPack(packs)}
              canBuy=${list.providers.length > 0}
              onBuy=${() => setWanted(pack)}
            />
          </li>
        `,
      )}
    </ul>
    <p class="hint billing-note">
      ${t(list.providers.length > 0 ? "billing.never_expire" : "billing.no_providers")}
    </p>
    ${wanted &&
    html`<${Buy}
      pack=${wanted}
      providers=${list.providers}
      onOrder=${onOrder}
      onClose=${() => setWanted(null)}
    />`}
  `;
}

function PackCard({ pack, best, smallest, canBuy, onBuy }) {
  const less = percentLess(pack, smallest);
  return html`
    <article class=${best ? "card pack is-best" : "card pack"}>
      <header>
        <h3><b>${number(pack.credits)}</b> ${t("billing.unit")}</h3>
        ${best && html`<${Badge} kind="gold">${t("billing.best")}<//>`}
      </header>
      <p class="pack-price">${money(pack.price_kwd)}</p>
      <p class="pack-rate">
        ${t("billing.per_credit", { amount: money(pack.price_per_credit_kwd) })}
        ${less > 0 && html` · ${t("billing.less", { n: less, pack: number(smallest.credits) })}`}
      </p>
      <p class="hint">
        ${t("billing.buys", {
          standard: number(pack.credits),
          premium: number(Math.floor(pack.credits / 2)),
        })}
      </p>
      ${canBuy &&
      html`<${Button}
        kind=${best ? "primary" : ""}
        icon="card"
        onClick=${onBuy}
        label=${t("billing.buy_pack", { n: number(pack.credits), amount: money(pack.price_kwd) })}
      >
        ${t("billing.buy")}
      <//>`}
    </article>
  `;
}
