// The link of an invitation, which is shown this once and works once.
import { html } from "../../lib/ui.js";
import { Button, Code, Dialog } from "../../lib/parts.js";
import { Icon } from "../../lib/icons.js";
import { dateTime } from "../../lib/format.js";
import { t } from "../../lib/words.js";

export const Invited = ({ user, onClose }) => html`
  <${Dialog} title=${t("users.invitation")} onClose=${onClose}>
    <p>${t("users.give")} <b><bdi>${user.name}</bdi></b></p>
    <${Code} text=${user.invitation_url} />
    <p class="notice"><${Icon} name="warning" />${t("users.once")}</p>
    <p class="hint users-until">${t("users.until", { time: dateTime(user.invitation_expires_at) })}</p>
    <div class="form-buttons">
      <${Button} kind="primary" icon="check" onClick=${onClose}>${t("users.given")}<//>
    </div>
  <//>
`;
