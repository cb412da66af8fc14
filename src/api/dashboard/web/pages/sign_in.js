// Signing in: with a name and a password, or with a key.
import { html, useEffect, useState } from "../lib/ui.js";
import { Button, Field, Form, Segmented } from "../lib/parts.js";
import { signIn } from "../lib/session.js";
import { useAction } from "../lib/load.js";
import { language, setLanguage, t } from "../lib/words.js";
import "../words/entrance.js";

export default function SignIn({ lost }) {
  const [way, setWay] = useState("user");
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const [key, setKey] = useState("");
  const lang = language.use();
  const enter = useAction(() => signIn(way === "user" ? { name, password } : { key: key.trim() }));
  useEffect(() => {
    document.title = `${t("entrance.title")} · Mizan`;
  }, [lang]);

  return html`
    <main class="alone">
      <div class="entrance-brand">
        <img src="/assets/icon.svg" alt="" width="52" height="52" />
        <h1>Mizan</h1>
        <p>${t("entrance.lead")}</p>
      </div>
      <section class="card" aria-label=${t("entrance.title")}>
        ${lost && html`<p class="hint" role="status">${t("entrance.lost")}</p>`}
        <div class="entrance-way">
          <${Segmented}
            label=${t("entrance.way")}
            options=${[["user", t("entrance.as_user")], ["key", t("entrance.by_key")]]}
            value=${way}
            onValue=${(next) => {
              enter.clear();
              setWay(next);
            }}
          />
        </div>
        <${Form}
          onSubmit=${enter.run}
          error=${enter.error}
          buttons=${html`<${Button} kind="primary" type="submit" busy=${enter.busy}>${t("entrance.enter")}<//>`}
        >
          ${way === "user"
            ? html`
                <${Field}
                  label=${t("entrance.name")}
                  value=${name}
                  onValue=${setName}
                  autocomplete="username"
                  autocapitalize="none"
                  required
                />
                <${Field}
                  label=${t("entrance.password")}
                  type="password"
                  value=${password}
                  onValue=${setPassword}
                  autocomplete="current-password"
                  required
                />
              `
            : html`
                <${Field}
                  label=${t("entrance.key")}
                  hint=${t("entrance.key_hint")}
                  type="password"
                  value=${key}
                  onValue=${setKey}
                  autocomplete="off"
                  dir="ltr"
                  required
                />
              `}
        <//>
      </section>
      <p class="entrance-more">
        <a href="#/docs">${t("pages.docs")}</a>
        <button
          type="button"
          class="button quiet"
          lang=${lang === "ar" ? "en" : "ar"}
          onClick=${() => setLanguage(lang === "ar" ? "en" : "ar")}
        >
          ${lang === "ar" ? "English" : "العربية"}
        </button>
      </p>
    </main>
  `;
}
