// Chat with any model that is served here: what it says, how fast, and what it cost.
import { html, useEffect, useRef, useState } from "../lib/ui.js";
import { api } from "../lib/api.js";
import { me } from "../lib/session.js";
import { useLoad } from "../lib/load.js";
import { Button, Card, Check, Code, Dialog, Empty, Loaded, Page, Segmented } from "../lib/parts.js";
import { t } from "../lib/words.js";
import { LANGUAGES } from "./playground/as_code.js";
import { again, ask, bodyOf, clear, messages, running, settings, stop } from "./playground/conversation.js";
import { Message } from "./playground/message.js";
import { Settings } from "./playground/settings.js";
import "../words/playground.js";

export default function Playground() {
  const models = useLoad((signal) => api("/api/v1/models", { signal }));
  const [code, setCode] = useState(false);
  const said = messages.use();
  if (me.get()?.playground === false) {
    return html`<${Page} title=${t("pages.playground")} lead=${t("playground.not_allowed")} />`;
  }
  return html`
    <${Page}
      wide
      title=${t("pages.playground")}
      actions=${html`
        <${Button} icon="code" onClick=${() => setCode(true)}>${t("playground.as_code")}<//>
        <${Button} icon="trash" disabled=${said.length === 0} onClick=${clear}>${t("playground.clear")}<//>
      `}
    >
      <${Loaded} from=${models}>
        ${({ data }) =>
          data.length === 0
            ? html`<${Empty}>${t("playground.no_models")}<//>`
            : html`<div class="playground">
                <${Talk} said=${said} />
                <${Settings} models=${data} />
              </div>`}
      <//>
      ${code && html`<${AsCode} onClose=${() => setCode(false)} />`}
    <//>
  `;
}

/** The messages, and the place to write the next one. */
function Talk({ said }) {
  const [text, setText] = useState("");
  const log = useRef(null);
  const box = useRef(null);
  const following = useRef(true);
  const busy = running.use() !== null;
  useEffect(() => {
    // Whoever scrolled up to read is left there.
    if (following.current) log.current.scrollTop = log.current.scrollHeight;
  }, [said]);
  const send = () => {
    if (busy || !text.trim()) return;
    following.current = true;
    ask(text);
    setText("");
    box.current?.focus();
  };
  return html`
    <${Card} class="talk">
      <div
        ref=${log}
        class="talk-log"
        role="log"
        aria-label=${t("playground.conversation")}
        aria-busy=${busy}
        tabindex="0"
        onScroll=${({ target }) => {
          following.current = target.scrollHeight - target.scrollTop - target.clientHeight < 40;
        }}
      >
        ${said.length === 0 && html`<${Empty} icon="chat">${t("playground.empty")}<//>`}
        ${said.map(
          (message, n) => html`
            <${Message}
              key=${n}
              message=${message}
              writing=${busy && n === said.length - 1}
              onAgain=${!busy && n === said.length - 1 && message.role === "assistant" ? again : undefined}
            />
          `,
        )}
      </div>
      <form
        class="talk-box"
        onSubmit=${(event) => {
          event.preventDefault();
          send();
        }}
      >
        <textarea
          ref=${box}
          rows="3"
          dir=${text ? "auto" : undefined}
          aria-label=${t("playground.message")}
          placeholder=${t("playground.placeholder")}
          value=${text}
          onInput=${(event) => setText(event.target.value)}
          onKeyDown=${(event) => {
            if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
            event.preventDefault();
            send();
          }}
        ></textarea>
        ${busy
          ? html`<${Button} icon="stop" onClick=${stop}>${t("playground.stop")}<//>`
          : html`<${Button} kind="primary" icon="send" type="submit" disabled=${!text.trim()}>
              ${t("playground.send")}
            <//>`}
      </form>
    <//>
  `;
}

function AsCode({ onClose }) {
  const [language, setLanguage] = useState("curl");
  const [streamed, setStreamed] = useState(false);
  settings.use();
  const said = [...messages.get()];
  // The request that was answered last, or an example of one.
  while (said.at(-1)?.role === "assistant") said.pop();
  const body = bodyOf(said.length > 0 ? said : [{ role: "user", content: t("playground.example") }]);
  const [, , write] = LANGUAGES.find(([name]) => name === language);
  const isShell = language === "curl";
  return html`
    <${Dialog} title=${t("playground.as_code")} onClose=${onClose}>
      <${Segmented}
        label=${t("playground.language")}
        options=${LANGUAGES.map(([name, words]) => [name, words])}
        value=${language}
        onValue=${setLanguage}
      />
      ${isShell &&
      html`<${Check} label=${t("playground.streamed")} checked=${streamed} onValue=${setStreamed} />`}
      <${Code} text=${write(location.origin, isShell && streamed ? { ...body, stream: true } : body)} />
      <p class="hint">${t("playground.key_hint")} <a href="#/keys">${t("pages.keys")}</a></p>
    <//>
  `;
}
