// A one-time invitation: whoever follows its link sets a password, and is signed in with it.
import { html, useEffect, useState } from "../lib/ui.js";
import { api } from "../lib/api.js";
import { Button, Field, Form } from "../lib/parts.js";
import { signIn } from "../lib/session.js";
import { useAction } from "../lib/load.js";
import { go } from "../lib/route.js";
import { t } from "../lib/words.js";
import "../words/entrance.js";

export default function Invitation({ parts }) {
  const invitation = parts[1] ?? "";
  const [password, setPassword] = useState("");
  const [again, setAgain] = useState("");
  const differ = again !== "" && again !== password;
  useEffect(() => {
    document.title = `${t("entrance.invited")} · Mizan`;
  }, []);
  const accept = useAction(async () => {
    const body = { invitation, password };
    const user = await api("/api/v1/invitations/accept", { method: "POST", body });
    await signIn({ name: user.name, password });
    go("#/", { replace: true });
  });

  return html`
    <main class="alone">
      <div class="entrance-brand">
        <img src="/assets/icon.svg" alt="" width="52" height="52" />
        <h1>${t("entrance.invited")}</h1>
        <p>${t("entrance.invited_lead")}</p>
      </div>
      <section class="card" aria-label=${t("entrance.invited")}>
        <${Form}
          onSubmit=${() => !differ && accept.run()}
          error=${accept.error}
          buttons=${html`<${Button} kind="primary" type="submit" busy=${accept.busy}>${t("entrance.set_password")}<//>`}
        >
          <${Field}
            label=${t("entrance.new_password")}
            hint=${t("entrance.password_hint")}
            type="password"
            value=${password}
            onValue=${setPassword}
            autocomplete="new-password"
            required
          />
          <${Field}
            label=${t("entrance.again")}
            error=${differ && t("entrance.differ")}
            type="password"
            value=${again}
            onValue=${setAgain}
            autocomplete="new-password"
            required
          />
        <//>
      </section>
    </main>
  `;
}
