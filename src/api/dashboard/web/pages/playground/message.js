// One message: its text as it is written, with blocks of code set apart, and an answer's figures.
import { html } from "../../lib/ui.js";
import { Badge, Button, Copy, Problem } from "../../lib/parts.js";
import { credits, decimal, duration, number } from "../../lib/format.js";
import { may } from "../../lib/session.js";
import { t } from "../../lib/words.js";

export function Message({ message, writing, onAgain }) {
  const { role, content, reasoning, figures, error } = message;
  return html`
    <article class="message ${role}">
      <h3>${t(`playground.role_${role}`)}</h3>
      ${reasoning &&
      html`<details class="reasoning" open=${writing && !content}>
        <summary>${t("playground.reasoning")}</summary>
        <${Text} text=${reasoning} />
      </details>`}
      <${Text} text=${content} writing=${writing} />
      <${Problem} error=${error} />
      ${(figures?.exhausted || error?.status === 402) &&
      html`<p class="hint">
        ${figures?.exhausted && t("playground.exhausted")}
        ${may("billing") && html` <a href="#/billing">${t("pages.billing")}</a>`}
      </p>`}
      ${role === "assistant" &&
      html`<footer class="message-foot">
        <${Figures} figures=${figures} />
        ${!writing && content && html`<${Copy} text=${content} kind="quiet" />`}
        ${onAgain && html`<${Button} kind="quiet" icon="refresh" onClick=${onAgain}>${t("playground.again")}<//>`}
      </footer>`}
    </article>
  `;
}

/** Paragraphs run in their own direction; what stands between ``` is code. */
function Text({ text, writing }) {
  const parts = text.split(/^```(.*)$/m);
  // [text, language, code, "", text, ...]: an open block at the end is code already.
  const blocks = [];
  for (let n = 0; n < parts.length; n += 4) {
    blocks.push(html`<p dir="auto">${parts[n].replace(/^\n/, "")}</p>`);
    if (n + 2 < parts.length) {
      blocks.push(html`<pre dir="ltr" tabindex="0"><code>${parts[n + 2].replace(/^\n|\n$/g, "")}</code></pre>`);
    }
  }
  return html`<div class="message-text">${blocks}${writing && html`<span class="caret" aria-hidden="true"></span>`}</div>`;
}

function Figures({ figures }) {
  if (!figures) return null;
  const { tokens, perSecond, firstMs, credits: cost, finish } = figures;
  return html`
    <p class="message-figures">
      ${cost !== null && cost !== undefined && html`<b data-credits=${cost}>${credits(cost)}</b>`}
      <span>${t("playground.tokens", { count: tokens ?? 0, n: number(tokens ?? 0) })}</span>
      ${perSecond && html`<span>${t("playground.per_second", { n: decimal(perSecond) })}</span>`}
      ${firstMs !== null && firstMs !== undefined && html`<span>${t("playground.first", { n: duration(firstMs) })}</span>`}
      ${finish && html`<${Badge} kind=${finish === "length" ? "warn" : ""}>${finish}<//>`}
    </p>
  `;
}
