// The document's descriptions: paragraphs, with code between backticks.
import { html } from "../../lib/ui.js";

const inline = (text) => text.split("`").map((part, n) => (n % 2 === 1 ? html`<code>${part}</code>` : part));

/** The document is in English, whatever the page is in. */
export const Prose = ({ text, class: extra = "" }) =>
  text
    ? html`<div class="docs-prose ${extra}" lang="en" dir="ltr">
        ${text.split(/\n{2,}/).map((paragraph) => html`<p>${inline(paragraph)}</p>`)}
      </div>`
    : null;
