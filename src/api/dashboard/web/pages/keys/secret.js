// The secret of a key that was just made, with a line that proves that it works.
import { html } from "../../lib/ui.js";
import { api } from "../../lib/api.js";
import { useLoad } from "../../lib/load.js";
import { Button, Code, Dialog } from "../../lib/parts.js";
import { Icon } from "../../lib/icons.js";
import { t } from "../../lib/words.js";
import { keep } from "../docs/key.js";
import { asCode } from "../playground/as_code.js";

/** What a key that may not generate can always ask: what it is. */
const showItself = (secret) => `curl ${location.origin}/api/v1/key -H 'Authorization: Bearer ${secret}'`;

const generate = (secret, model) =>
  asCode("curl", location.origin, { model, messages: [{ role: "user", content: "Hello!" }] }, secret);

export function Secret({ made, onClose }) {
  // A key may not do more than the one who makes it, who then may ask for the models too.
  const generates = made.scopes.includes("inference");
  const models = useLoad((signal) => (generates ? api("/v1/models", { signal }) : null));
  const model = models.data?.data[0]?.id;
  const line = model ? generate(made.secret, model) : showItself(made.secret);
  return html`
    <${Dialog} title=${t("keys.made")} onClose=${onClose}>
      <p class="notice"><${Icon} name="warning" />${t("keys.once")}</p>
      <h3 class="keys-sub">${t("keys.secret")}</h3>
      <${Code} text=${made.secret} />
      <h3 class="keys-sub">${t("keys.try")}</h3>
      <${Code} text=${line} />
      <div class="form-buttons">
        <${Button} href="#/docs" onClick=${() => keep(made.secret)}>${t("pages.docs")}<//>
        <${Button} kind="primary" icon="check" onClick=${onClose}>${t("keys.kept")}<//>
      </div>
    <//>
  `;
}
