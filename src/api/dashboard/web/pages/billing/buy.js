// Ordering a pack: who takes the payment, and where it goes on from there.
import { html, useId, useState } from "../../lib/ui.js";
import { api, newIdempotencyKey } from "../../lib/api.js";
import { useAction } from "../../lib/load.js";
import { Button, Dialog, Field, Form } from "../../lib/parts.js";
import { credits, money } from "../../lib/format.js";
import { go, link } from "../../lib/route.js";
import { t } from "../../lib/words.js";
import { isPage, isTransfer, providerHint, providerName } from "./providers.js";

/** The key of each wish that no answer has come to yet: asking again then orders nothing twice. */
const open = new Map();

async function order(body) {
  const wish = JSON.stringify(body);
  if (!open.has(wish)) open.set(wish, newIdempotencyKey());
  try {
    const headers = { "idempotency-key": open.get(wish) };
    const topup = await api("/api/v1/topups", { method: "POST", body, headers });
    open.delete(wish);
    return topup;
  } catch (error) {
    if (isDecided(error)) open.delete(wish);
    throw error;
  }
}

/** Whether the order was refused, or its provider failed, for good; else the server may have it. */
const isDecided = (error) =>
  error.code?.startsWith("payment_provider_") ||
  (error.status >= 400 && error.status < 500 && error.status !== 409 && error.status !== 429);

export function Buy({ pack, providers, onOrder, onClose }) {
  const [provider, setProvider] = useState(providers[0]);
  const [email, setEmail] = useState("");
  const wantsEmail = !isTransfer(provider);
  const buy = useAction(async () => {
    const body = { pack: pack.id, provider, email: (wantsEmail && email.trim()) || undefined };
    const topup = await order(body);
    onOrder();
    onClose();
    go(link(["billing"], { order: topup.id }));
    if (topup.next?.type === "redirect" && isPage(topup.next.url)) location.assign(topup.next.url);
  });

  return html`
    <${Dialog} title=${t("billing.buy_title", { credits: credits(pack.credits) })} onClose=${onClose}>
      <${Form}
        onSubmit=${buy.run}
        error=${buy.error}
        buttons=${html`
          <${Button} onClick=${onClose}>${t("common.cancel")}<//>
          <${Button} kind="primary" type="submit" icon="card" busy=${buy.busy}>
            ${t(isTransfer(provider) ? "billing.order" : "billing.pay", { amount: money(pack.price_kwd) })}
          <//>
        `}
      >
        <${Providers} providers=${providers} value=${provider} onValue=${setProvider} />
        ${wantsEmail &&
        html`<${Field}
          label=${t("billing.email")}
          hint=${t("billing.email_hint")}
          type="email"
          autocomplete="email"
          dir="ltr"
          value=${email}
          onValue=${setEmail}
        />`}
      <//>
    <//>
  `;
}

function Providers({ providers, value, onValue }) {
  const name = useId();
  return html`
    <fieldset class="choices">
      <legend>${t("billing.how")}</legend>
      ${providers.map(
        (provider) => html`
          <label class=${provider === value ? "is-on" : ""}>
            <input
              type="radio"
              name=${name}
              checked=${provider === value}
              onChange=${() => onValue(provider)}
            />
            <span>
              <b>${providerName(provider)}</b>
              <small>${providerHint(provider)}</small>
            </span>
          </label>
        `,
      )}
    </fieldset>
  `;
}
