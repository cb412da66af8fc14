// Inviting somebody: a name to sign in with, a role, and for the operator the account.
import { html, useState } from "../../lib/ui.js";
import { api } from "../../lib/api.js";
import { useAction, useLoad } from "../../lib/load.js";
import { Button, Dialog, Field, Form, Problem } from "../../lib/parts.js";
import { t } from "../../lib/words.js";
import { ACCOUNT_ROLES, Roles } from "./roles.js";

/** `of`: the account that is proposed. */
export function NewUser({ root, operator, of, onClose, onChange, onInvited }) {
  const [name, setName] = useState("");
  const [role, setRole] = useState(ACCOUNT_ROLES[0]);
  const [account, setAccount] = useState(of ?? "");
  const accounts = useLoad((signal) => (operator ? api("/api/v1/admin/accounts", { signal }) : null));
  const open = (accounts.data?.data ?? []).filter((known) => !known.closed_at);
  const needsAccount = operator && role !== "operator";
  const invite = useAction(async () => {
    const body = { name: name.trim(), role, account: needsAccount ? account : undefined };
    try {
      const user = await api(root, { method: "POST", body });
      onInvited(user);
      onClose();
    } finally {
      // Even without an answer there may be a new user, who can be invited again.
      onChange();
    }
  });

  return html`
    <${Dialog} title=${t("users.invite")} onClose=${onClose}>
      <${Form}
        onSubmit=${() => name.trim() && invite.run()}
        error=${invite.error}
        buttons=${html`
          <${Button} onClick=${onClose}>${t("common.cancel")}<//>
          <${Button} kind="primary" type="submit" busy=${invite.busy}>${t("users.make")}<//>
        `}
      >
        <${Field}
          label=${t("users.name")}
          hint=${t("users.name_hint")}
          value=${name}
          onValue=${setName}
          dir="ltr"
          maxlength="80"
          pattern="\\s*\\S+\\s*"
          autocomplete="off"
          autocapitalize="off"
          spellcheck=${false}
          autofocus
          required
        />
        <${Roles}
          roles=${operator ? [...ACCOUNT_ROLES, "operator"] : ACCOUNT_ROLES}
          value=${role}
          onValue=${setRole}
        />
        ${needsAccount &&
        html`<${Field}
          label=${t("users.account")}
          type="select"
          options=${[["", t("users.choose")], ...open.map((known) => [known.name, known.name])]}
          value=${account}
          onValue=${setAccount}
          required
        />`}
        <${Problem} error=${accounts.error} retry=${accounts.reload} />
      <//>
    <//>
  `;
}
