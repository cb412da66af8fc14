// Taking a key back: every program that uses it is refused from then on.
import { html } from "../../lib/ui.js";
import { api } from "../../lib/api.js";
import { me } from "../../lib/session.js";
import { useAction } from "../../lib/load.js";
import { Confirm, say } from "../../lib/parts.js";
import { t } from "../../lib/words.js";

export function Revoke({ of: key, onClose, onChange }) {
  const who = me.use();
  const isOwn = who.kind === "key" && who.id === key.id;
  const revoke = useAction(async () => {
    const answer = await api(`/api/v1/keys/${key.id}`, { method: "DELETE" });
    say(t("keys.was_revoked", { label: key.label }));
    await onChange();
    return answer;
  });
  return html`
    <${Confirm} title=${t("keys.revoke_title")} word=${t("keys.revoke")} action=${revoke} onClose=${onClose}>
      <p><b><bdi>${key.label}</bdi></b> <small class="mono" dir="ltr">${key.prefix}…</small></p>
      <p>${t("keys.revoke_what")}</p>
      ${isOwn && html`<p class="keys-own"><b>${t("keys.revoke_own")}</b></p>`}
    <//>
  `;
}
