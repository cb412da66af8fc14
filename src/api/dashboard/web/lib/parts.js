// The parts that pages are made of. Each is usable by keyboard and says what it is to a screen reader.
import { html, useEffect, useId, useRef, useState } from "./ui.js";
import { Icon } from "./icons.js";
import { store } from "./store.js";
import { t } from "./words.js";

/** A page: its title, what can be done on it, and its content. Moves the focus to the title. */
export function Page({ title, lead, actions, children, wide }) {
  const heading = useRef(null);
  useEffect(() => {
    document.title = `${title} · Mizan`;
  }, [title]);
  useEffect(() => {
    heading.current?.focus({ preventScroll: true });
    scrollTo(0, 0);
  }, []);
  return html`
    <div class=${wide ? "page wide" : "page"}>
      <header class="page-head">
        <div>
          <h1 ref=${heading} tabindex="-1">${title}</h1>
          ${lead && html`<p class="lead">${lead}</p>`}
        </div>
        ${actions && html`<div class="actions">${actions}</div>`}
      </header>
      ${children}
    </div>
  `;
}

/** A box with a heading of its own. */
export function Card({ title, actions, children, class: extra = "" }) {
  const id = useId();
  return html`
    <section class="card ${extra}" aria-labelledby=${title ? id : undefined}>
      ${title &&
      html`<header class="card-head">
        <h2 id=${id}>${title}</h2>
        ${actions && html`<div class="actions">${actions}</div>`}
      </header>`}
      ${children}
    </section>
  `;
}

/** `kind`: "primary", "danger", "quiet", or none. With `href` a link that looks the same. */
export function Button({ kind = "", icon, busy, href, children, label, ...rest }) {
  const content = html`${icon && html`<${Icon} name=${icon} />`}${children}`;
  const classes = `button ${kind} ${children ? "" : "only-icon"}`;
  if (href) return html`<a class=${classes} href=${href} aria-label=${label} ...${rest}>${content}</a>`;
  return html`
    <button
      type="button"
      class=${classes}
      aria-label=${label}
      title=${label}
      aria-busy=${busy ? "true" : undefined}
      ...${rest}
      disabled=${rest.disabled || busy}
    >
      ${content}
    </button>
  `;
}

/**
 * A labelled input. `type` may also be "select" (with `options`: `[value, words]` pairs) or
 * "textarea". `onValue` gets the text. `error` is shown with it and read out.
 */
export function Field({ label, hint, error, type = "text", options, value, onValue, ...rest }) {
  const id = useId();
  const described = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ");
  const shared = {
    id,
    value,
    onInput: (event) => onValue?.(event.target.value),
    "aria-describedby": described || undefined,
    "aria-invalid": error ? "true" : undefined,
    ...rest,
  };
  const control =
    type === "select"
      ? html`<select ...${shared}>
          ${options.map(([v, words]) => html`<option value=${v} selected=${v === value}>${words}</option>`)}
        </select>`
      : type === "textarea"
        ? html`<textarea ...${shared}></textarea>`
        : html`<input type=${type} ...${shared} />`;
  return html`
    <div class="field">
      <label for=${id}>${label}</label>
      ${control}
      ${hint && html`<p class="hint" id="${id}-hint">${hint}</p>`}
      ${error && html`<p class="field-error" id="${id}-error">${error}</p>`}
    </div>
  `;
}

/** A box to tick. */
export function Check({ label, checked, onValue, ...rest }) {
  return html`
    <label class="check">
      <input
        type="checkbox"
        checked=${checked}
        onChange=${(event) => onValue(event.target.checked)}
        ...${rest}
      />
      <span>${label}</span>
    </label>
  `;
}

/** A form: Enter sends it, and `error` of the server stands above its buttons. */
export function Form({ onSubmit, error, children, buttons }) {
  return html`
    <form
      onSubmit=${(event) => {
        event.preventDefault();
        onSubmit();
      }}
    >
      ${children}
      <${Problem} error=${error} />
      ${buttons && html`<div class="form-buttons">${buttons}</div>`}
    </form>
  `;
}

/** What went wrong, if anything did, in words that say what to do. */
export function Problem({ error, retry }) {
  if (!error) return null;
  const words = error.status === 0 ? t("common.unreachable") : error.message;
  return html`
    <div class="problem" role="alert">
      <${Icon} name="warning" />
      <p>
        ${words}
        ${error.retryAfter && html` ${t("common.retry_after", { n: error.retryAfter })}`}
      </p>
      ${retry && html`<${Button} onClick=${retry}>${t("common.retry")}<//>`}
    </div>
  `;
}

/** What `useLoad` read: `children(data)` once it is there, a skeleton before, the error if it failed. */
export function Loaded({ from, children, lines = 4 }) {
  const { data, error, reload } = from;
  if (data === undefined && error) return html`<${Problem} error=${error} retry=${reload} />`;
  if (data === undefined) return html`<${Skeleton} lines=${lines} />`;
  return html`${error && html`<${Problem} error=${error} retry=${reload} />`}${children(data)}`;
}

/** Grey lines where content will be. */
export const Skeleton = ({ lines = 4 }) => html`
  <div class="skeleton" role="status" aria-label=${t("common.loading")}>
    ${Array.from({ length: lines }, () => html`<span></span>`)}
  </div>
`;

/** Said where a list has no rows. */
export const Empty = ({ icon = "list", children }) => html`
  <div class="empty"><${Icon} name=${icon} /><p>${children}</p></div>
`;

/** A word in colour; `kind`: "good", "bad", "warn", "gold" or none. The word alone must tell. */
export const Badge = ({ kind = "", children }) => html`<span class="badge ${kind}">${children}</span>`;

/** A figure with what it is; several stand in a `<dl class="figures">`. */
export const Figure = ({ label, value, note }) => html`
  <div class="figure">
    <dt>${label}</dt>
    <dd>${value}</dd>
    ${note && html`<dd class="note">${note}</dd>`}
  </div>
`;

/**
 * A table. A column: `{ title, cell(row), number, hideOnPhone, key }`; `caption` is read out. On a
 * phone it scrolls sideways by itself, reachable by keyboard.
 */
export function Table({ caption, columns, rows, rowKey = (row) => row.id, empty, footer }) {
  if (rows.length === 0 && empty) return html`<${Empty}>${empty}<//>`;
  const cellClass = (column) =>
    [column.number && "number", column.hideOnPhone && "hide-on-phone"].filter(Boolean).join(" ");
  return html`
    <div class="table-frame" tabindex="0" role="group" aria-label=${caption}>
      <table>
        <caption class="for-readers">${caption}</caption>
        <thead>
          <tr>
            ${columns.map(
              (column) =>
                html`<th scope="col" class=${cellClass(column)}>
                  ${column.title || html`<span class="for-readers">${t("common.actions")}</span>`}
                </th>`,
            )}
          </tr>
        </thead>
        <tbody>
          ${rows.map(
            (row) =>
              html`<tr key=${rowKey(row)}>
                ${columns.map((column) => html`<td class=${cellClass(column)}>${column.cell(row)}</td>`)}
              </tr>`,
          )}
        </tbody>
        ${footer}
      </table>
    </div>
  `;
}

/**
 * A dialog over the page, the browser's own: focus stays in it, Escape closes it and goes back to
 * where it was. Draw it only while it is open.
 */
export function Dialog({ title, onClose, children }) {
  const dialog = useRef(null);
  const id = useId();
  useEffect(() => {
    const node = dialog.current;
    const opener = document.activeElement;
    node.showModal();
    return () => {
      node.close();
      // Once all is drawn: what opened it may be gone with what was done.
      setTimeout(() => {
        if (document.activeElement !== document.body) return;
        const back = opener.isConnected && opener !== document.body ? opener : document.querySelector("h1");
        back?.focus();
      });
    };
  }, []);
  return html`
    <dialog
      ref=${dialog}
      aria-labelledby=${id}
      onCancel=${(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      <header class="card-head">
        <h2 id=${id}>${title}</h2>
        <${Button} kind="quiet" icon="close" label=${t("common.close")} onClick=${onClose} />
      </header>
      ${children}
    </dialog>
  `;
}

/** Asks before something that can not be taken back. `action` is from `useAction`. */
export function Confirm({ title, children, word, action, onClose }) {
  return html`
    <${Dialog} title=${title} onClose=${onClose}>
      <div>${children}</div>
      <${Problem} error=${action.error} />
      <div class="form-buttons">
        <${Button} onClick=${onClose}>${t("common.cancel")}<//>
        <${Button}
          kind="danger"
          busy=${action.busy}
          onClick=${async () => (await action.run()) !== undefined && onClose()}
        >
          ${word}
        <//>
      </div>
    <//>
  `;
}

/** Copies `text`, and says so for two seconds. */
export function Copy({ text, label = t("common.copy"), kind = "" }) {
  const [done, setDone] = useState(false);
  useEffect(() => {
    if (!done) return;
    const timer = setTimeout(() => setDone(false), 2_000);
    return () => clearTimeout(timer);
  }, [done]);
  const copy = async () => {
    await writeClipboard(text);
    setDone(true);
  };
  return html`
    <${Button} kind=${kind} icon=${done ? "check" : "copy"} onClick=${copy}>
      <span aria-live="polite">${done ? t("common.copied") : label}</span>
    <//>
  `;
}

/** Pages that came over plain HTTP from another machine have no clipboard API; others may not use it. */
async function writeClipboard(text) {
  const isWritten = await navigator.clipboard?.writeText(text).then(() => true, () => false);
  if (isWritten) return;
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "for-readers";
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** A secret or a command, left to right in any language, with a button to copy it. */
export const Code = ({ text, label }) => html`
  <div class="code">
    <pre dir="ltr" tabindex="0"><code>${text}</code></pre>
    <${Copy} text=${text} label=${label} kind="quiet" />
  </div>
`;

/** One of several; `options`: `[value, words]` pairs. */
export function Segmented({ label, options, value, onValue }) {
  const name = useId();
  return html`
    <fieldset class="segmented">
      <legend class="for-readers">${label}</legend>
      ${options.map(
        ([option, words]) => html`
          <label class=${option === value ? "is-on" : ""}>
            <input
              type="radio"
              name=${name}
              checked=${option === value}
              onChange=${() => onValue(option)}
            />
            ${words}
          </label>
        `,
      )}
    </fieldset>
  `;
}

const toasts = store([]);

/** Says that something was done, for some seconds, at the edge of the page. */
export function say(words) {
  const toast = { words };
  toasts.set([...toasts.get(), toast].slice(-3));
  setTimeout(() => toasts.set(toasts.get().filter((other) => other !== toast)), 5_000);
}

export function Toasts() {
  return html`
    <div class="toasts" role="status" aria-live="polite">
      ${toasts.use().map((toast) => html`<div class="toast"><${Icon} name="check" />${toast.words}</div>`)}
    </div>
  `;
}
