// The roles as a choice, each with what it may do.
import { html, useId } from "../../lib/ui.js";
import { t } from "../../lib/words.js";

export const ACCOUNT_ROLES = ["member", "owner"];

export function Roles({ roles, value, onValue }) {
  const name = useId();
  return html`
    <fieldset class="choices">
      <legend>${t("users.role")}</legend>
      ${roles.map(
        (role) => html`
          <label class=${role === value ? "is-on" : ""}>
            <input type="radio" name=${name} checked=${role === value} onChange=${() => onValue(role)} />
            <span>
              <b>${t(`common.role_${role}`)}</b>
              <small>${t(`users.may_${role}`)}</small>
            </span>
          </label>
        `,
      )}
    </fieldset>
  `;
}
