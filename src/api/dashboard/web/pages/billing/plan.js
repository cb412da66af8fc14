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
                <div>
                  <dt>${t(`billing.${limit}`)}</dt>
                  <dd><${Limit} most=${plan[limit]} left=${left && plan.remaining?.[left]} /></dd>
                </div>
              `,
            )}
          </dl>
          <p class="hint">${t("billing.plan_words")}</p>
        `}
      <//>
    <//>
  `;
}

function Limit({ most, left }) {
  if (most === null || most === undefined) return t("billing.no_limit");
  if (left === null || left === undefined) return html`<b>${number(most)}</b>`;
  return html`
    <b>${number(most)}</b>
    <small>${t("billing.left_now", { n: number(left) })}</small>
    <meter min="0" max=${most} value=${left} aria-label=${t("billing.left_now", { n: number(left) })}></meter>
  `;
}
