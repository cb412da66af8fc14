// The account's plan: what it may do a minute and at once, and what is left of that.
import { html } from "../../lib/ui.js";
import { api } from "../../lib/api.js";
import { useLoad } from "../../lib/load.js";
import { Card, Loaded } from "../../lib/parts.js";
import { number } from "../../lib/format.js";
import { t } from "../../lib/words.js";

const EVERY = 10_000;

/** The limits, and what of `remaining` belongs to each. */
const LIMITS = [
  ["max_requests_per_minute", "requests"],
  ["max_input_tokens_per_minute", "input_tokens"],
  ["max_concurrent_requests", "concurrent_requests"],
  ["max_prompt_tokens"],
];

export function Plan() {
  const from = useLoad((signal) => api("/api/v1/plan", { signal }), [], { every: EVERY });
  if (from.error?.status === 404) return null;
  return html`
    <${Card} title=${t("billing.plan")}>
      <${Loaded} from=${from}>
        ${({ data: plan }) => html`
          <p class="plan-name"><bdi>${plan.name}</bdi></p>
          <dl class="plan-limits">
            ${LIMITS.map(
              ([limit, left]) => html`
                <${Limit}
                  name=${t(`billing.${limit}`)}
                  most=${plan[limit]}
                  left=${left && plan.remaining?.[left]}
                />
              `,
            )}
          </dl>
          <p class="hint">${t("billing.plan_words")}</p>
        `}
      <//>
    <//>
  `;
}

/** One limit; null is none. */
function Limit({ name, most, left }) {
  const isKnown = most !== null && left !== null && left !== undefined;
  const words = isKnown && t("billing.left_now", { n: number(left) });
  return html`
    <div>
      <dt>${name}</dt>
      <dd>
        ${isKnown && html`<small>${words}</small>`}
        ${most === null ? t("billing.no_limit") : html`<b>${number(most)}</b>`}
      </dd>
      ${isKnown &&
      html`<dd class="plan-meter">
        <meter min="0" max=${most} value=${left} aria-label=${words}></meter>
      </dd>`}
    </div>
  `;
}
