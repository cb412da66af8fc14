// What stands around every page: the navigation, the balance, language, theme, and the way out.
import { html, useEffect, useRef, useState } from "./lib/ui.js";
import { Icon } from "./lib/icons.js";
import { Button, Problem } from "./lib/parts.js";
import { credits, isOperator, may, me, readCredits, signOut } from "./lib/session.js";
import { useAction, useLoad } from "./lib/load.js";
import { number } from "./lib/format.js";
import { language, setLanguage, t } from "./lib/words.js";
import { theme, toggleTheme } from "./lib/theme.js";
import { useRoute } from "./lib/route.js";
import { pageWords } from "./pages.js";

/** Between two readings of the balance while somebody looks, in milliseconds. */
const BALANCE_EVERY = 1_000;

export function Shell({ pages, current, children }) {
  const who = me.use();
  const operator = isOperator(who);
  const [open, setOpen] = useState(false);
  const menu = useRef(null);
  const route = useRoute();
  useEffect(() => setOpen(false), [route]);
  useEffect(() => {
    if (!open) return;
    const close = (event) => {
      if (event.key !== "Escape") return;
      setOpen(false);
      menu.current?.focus();
    };
    addEventListener("keydown", close);
    return () => removeEventListener("keydown", close);
  }, [open]);

  return html`
    <a class="skip" href="#content" onClick=${skip}>${t("common.skip")}</a>
    <div class="shell">
      <header class="top">
        <button
          ref=${menu}
          type="button"
          class="button quiet only-icon menu-button"
          aria-expanded=${open}
          aria-controls="navigation"
          aria-label=${t("common.menu")}
          onClick=${() => setOpen(!open)}
        >
          <${Icon} name=${open ? "close" : "menu"} />
        </button>
        <${Brand} />
        ${!operator && may("usage") && html`<${BalanceChip} />`}
      </header>
      <nav id="navigation" class=${open ? "side is-open" : "side"} aria-label=${t("common.navigation")}>
        <${Brand} />
        <ul>
          ${pages
            .filter((page) => !page.hidden)
            .map(
              (page) => html`
                ${page.group &&
                html`<li class="nav-group">${t(`pages.group_${page.group}`)}</li>`}
                <li>
                  <a
                    href="#/${page.path}"
                    aria-current=${page === current ? "page" : undefined}
                    onClick=${() => setOpen(false)}
                  >
                    <${Icon} name=${page.icon} />${t(pageWords(page, operator))}
                  </a>
                </li>
              `,
            )}
        </ul>
        <${Who} who=${who} operator=${operator} />
      </nav>
      <main id="content" tabindex="-1">${children}</main>
    </div>
  `;
}

/** `#content` is no page, so the link must not change the address. */
function skip(event) {
  event.preventDefault();
  document.getElementById("content").focus();
}

const Brand = () => html`
  <a class="brand" href="#/"><img src="/assets/icon.svg" alt="" width="28" height="28" /> Mizan</a>
`;

/** The balance on every page, kept up to date while somebody looks. */
function BalanceChip() {
  useLoad(readCredits, [], { every: BALANCE_EVERY });
  const known = credits.use();
  return html`
    <a class="balance-chip" href=${may("billing") ? "#/billing" : "#/usage"}>
      <${Icon} name="coins" />
      <span class="for-readers">${t("common.balance")}</span>
      <b data-balance=${known?.balance}>${known ? number(known.balance) : "–"}</b>
    </a>
  `;
}

function Who({ who, operator }) {
  const lang = language.use();
  const look = theme.use();
  const leave = useAction(signOut);
  const role = operator ? "operator" : who.kind === "key" ? "key" : who.role;
  return html`
    <div class="who">
      <div class="who-name">
        <bdi>${who.account ?? who.name}</bdi>
        <small>
          ${who.account
            ? html`${t(`common.role_${role}`)} · <bdi>${who.name}</bdi>`
            : who.name !== role && t(`common.role_${role}`)}
        </small>
      </div>
      <div class="who-buttons">
        <${Button}
          kind="quiet"
          icon="language"
          onClick=${() => setLanguage(lang === "ar" ? "en" : "ar")}
          lang=${lang === "ar" ? "en" : "ar"}
        >
          ${lang === "ar" ? "English" : "العربية"}
        <//>
        <${Button}
          kind="quiet"
          icon=${look === "dark" ? "sun" : "moon"}
          label=${t(look === "dark" ? "common.light" : "common.dark")}
          onClick=${toggleTheme}
        />
        <${Button} kind="quiet" icon="out" label=${t("common.sign_out")} busy=${leave.busy} onClick=${leave.run} />
      </div>
      <${Problem} error=${leave.error} />
    </div>
  `;
}
