// Giving a user of an account the other role.
import { html, useState } from "../../lib/ui.js";
import { api } from "../../lib/api.js";
import { recognise } from "../../lib/session.js";
import { useAction } from "../../lib/load.js";
import { Button, Dialog, Form, say } from "../../lib/parts.js";
import { t } from "../../lib/words.js";
import { ACCOUNT_ROLES, Roles } from "./roles.js";

export function ChangeRole({ root, of: user, isSelf, onClose, onChange }) {
  const [role, setRole] = useState(user.role);
  const change = useAction(async () => {
    await api(`${root}/${user.id}/role`, { method: "POST", body: { role } });
    say(t("common.saved"));
    onClose();
    // Whoever gave away what this page is for sees it no longer.
    if (isSelf) await recognise();
    else onChange();
  });
  return html`
    <${Dialog} title=${t("users.change_role")} onClose=${onClose}>
      <p class="users-of"><b><bdi>${user.name}</bdi></b></p>
      <${Form}
        onSubmit=${change.run}
        error=${change.error}
        buttons=${html`
          <${Button} onClick=${onClose}>${t("common.cancel")}<//>
          <${Button} kind="primary" type="submit" busy=${change.busy} disabled=${role === user.role}>
            ${t("common.save")}
          <//>
        `}
      >
        <${Roles} roles=${ACCOUNT_ROLES} value=${role} onValue=${setRole} />
      <//>
    <//>
  `;
}
