// Users: who may sign in, of the account, or for the operator of all and operators too.
import { html, useState } from "../lib/ui.js";
import { api } from "../lib/api.js";
import { isOperator, me } from "../lib/session.js";
import { useAction, useLoad } from "../lib/load.js";
import { Badge, Button, Card, Confirm, Loaded, Page, Problem, Table, say } from "../lib/parts.js";
import { date } from "../lib/format.js";
import { t } from "../lib/words.js";
import { NewUser } from "./users/new_user.js";
import { Invited } from "./users/invited.js";
import { ChangeRole } from "./users/change_role.js";
import "../words/users.js";

export default function Users({ query }) {
  const who = me.use();
  const operator = isOperator(who);
  const root = operator ? "/api/v1/admin/users" : "/api/v1/users";
  const users = useLoad((signal) => api(root, { signal }), [root]);
  // The open dialog: `{ what, user }`, of "new", "role" and "disable".
  const [open, setOpen] = useState(null);
  const account = operator ? query.account : undefined;
  const [invited, setInvited] = useState(null);
  const close = () => setOpen(null);

  const again = useAction(async (user) => {
    setInvited(await api(`${root}/${user.id}/invite`, { method: "POST" }));
    users.reload();
  });
  const disable = useAction(async () => {
    const user = await api(`${root}/${open.user.id}`, { method: "DELETE" });
    say(t("users.was_disabled", { name: user.name }));
    await users.reload();
    return user;
  });
  const shared = { root, onClose: close, onChange: users.reload };
  const isShown = (user) => !account || user.account === account;
  const isSelf = (user) => who.kind === "user" && user.id === who.id;

  return html`
    <${Page}
      title=${t("pages.users")}
      lead=${t(operator ? "users.lead_all" : "users.lead")}
      actions=${html`
        ${account && html`<${Button} href="#/users">${t("users.show_all")}<//>`}
        <${Button} kind="primary" icon="plus" onClick=${() => setOpen({ what: "new" })}>
          ${t("users.invite")}
        <//>
      `}
    >
      <${Problem} error=${again.error} />
      <${Card} title=${account && t("users.of_account", { account })}>
        <${Loaded} from=${users}>
          ${({ data }) => html`<${Table}
            caption=${t("pages.users")}
            empty=${t("users.none")}
            rows=${data.filter(isShown)}
            columns=${[
              {
                title: t("users.name"),
                cell: (user) => html`
                  <b><bdi>${user.name}</bdi></b>
                  ${isSelf(user) && html` <small>${t("users.you")}</small>`}
                `,
              },
              operator && {
                title: t("users.account"),
                cell: (user) => (user.account ? html`<bdi>${user.account}</bdi>` : "–"),
              },
              { title: t("users.role"), cell: (user) => t(`common.role_${user.role}`) },
              { title: t("users.state"), cell: (user) => html`<${State} of=${user} />` },
              { title: t("users.since"), hideOnPhone: true, cell: (user) => html`<time>${date(user.created_at)}</time>` },
              {
                title: "",
                number: true,
                cell: (user) =>
                  !user.disabled &&
                  html`<${Actions} of=${user} open=${setOpen} again=${again} />`,
              },
            ].filter(Boolean)}
          />`}
        <//>
      <//>
      ${open?.what === "new" &&
      html`<${NewUser} ...${shared} operator=${operator} of=${account} onInvited=${setInvited} />`}
      ${open?.what === "role" &&
      html`<${ChangeRole} ...${shared} of=${open.user} isSelf=${isSelf(open.user)} />`}
      ${open?.what === "disable" &&
      html`<${Confirm}
        title=${t("users.disable_title")}
        word=${t("users.disable")}
        action=${disable}
        onClose=${close}
      >
        <p><b><bdi>${open.user.name}</bdi></b></p>
        <p>${t("users.disable_what")}</p>
        ${isSelf(open.user) && html`<p><b>${t("users.disable_self")}</b></p>`}
      <//>`}
      ${invited && html`<${Invited} user=${invited} onClose=${() => setInvited(null)} />`}
    <//>
  `;
}

function State({ of: user }) {
  if (user.disabled) return html`<${Badge} kind="bad">${t("users.disabled")}<//>`;
  if (user.has_password) return html`<${Badge} kind="good">${t("users.is_active")}<//>`;
  return html`<${Badge} kind="gold">${t("users.invited")}<//>`;
}

/** Operators belong to no account, so there is no other role for them. */
function Actions({ of: user, open, again }) {
  const button = (word, onClick, rest = {}) => html`
    <${Button} kind="quiet" label="${t(word)}: ${user.name}" onClick=${onClick} ...${rest}>${t(word)}<//>
  `;
  return html`
    ${button("users.again", () => again.run(user), { disabled: again.busy })}
    ${user.role !== "operator" && button("users.change_role", () => open({ what: "role", user }))}
    ${button("users.disable", () => open({ what: "disable", user }))}
  `;
}
