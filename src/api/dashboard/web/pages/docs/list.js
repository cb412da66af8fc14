// All operations by what they are about, to be searched and chosen from.
import { html, useState } from "../../lib/ui.js";
import { Button, Field } from "../../lib/parts.js";
import { number } from "../../lib/format.js";
import { link } from "../../lib/route.js";
import { t } from "../../lib/words.js";

const isFound = (operation, words) => {
  const { method, path, also, summary, id, tag } = operation;
  const text = [method, path, ...also, summary, id, tag].join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
};

export function List({ operations, tags, current }) {
  const [search, setSearch] = useState("");
  const [isOpen, setIsOpen] = useState(false);
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const found = operations.filter((operation) => isFound(operation, words));
  const close = () => setIsOpen(false);
  const look = (text) => {
    setSearch(text);
    setIsOpen(text !== "");
  };
  return html`
    <nav class=${isOpen ? "docs-list is-open" : "docs-list"} aria-label=${t("docs.operations")}>
      <${Field} label=${t("docs.search")} type="search" value=${search} onValue=${look} />
      <p class="for-readers" role="status">
        ${words.length > 0 && t("docs.found", { count: found.length, n: number(found.length) })}
      </p>
      <${Button}
        class="button docs-toggle"
        icon="list"
        aria-expanded=${isOpen}
        onClick=${() => setIsOpen(!isOpen)}
      >
        ${t("docs.operations")}
      <//>
      <div class="docs-groups">
        <a href="#/docs" aria-current=${current ? undefined : "page"} onClick=${close}>${t("docs.start")}</a>
        ${tags.map(({ name }) => {
          const own = found.filter((operation) => operation.tag === name);
          if (own.length === 0) return null;
          return html`
            <h2 lang="en" dir="ltr">${name}</h2>
            <ul lang="en" dir="ltr">
              ${own.map(
                (operation) => html`<li key=${operation.id}>
                  <a
                    href=${link(["docs", operation.id])}
                    aria-current=${operation.id === current ? "page" : undefined}
                    onClick=${close}
                  >
                    <${Method} name=${operation.method} /> ${operation.summary}
                    <small>${operation.path}</small>
                  </a>
                </li>`,
              )}
            </ul>
          `;
        })}
        ${found.length === 0 && html`<p class="hint">${t("docs.none_found")}</p>`}
      </div>
    </nav>
  `;
}

export const Method = ({ name }) => html`<span class="docs-method ${name}">${name.toUpperCase()}</span>`;
