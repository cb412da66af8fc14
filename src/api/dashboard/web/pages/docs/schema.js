// A schema as a tree: every field with its type, bounds and meaning. What a field is made of is drawn
// when it is opened, so schemas may contain themselves.
import { html, useState } from "../../lib/ui.js";
import { Badge } from "../../lib/parts.js";
import { t } from "../../lib/words.js";
import { Prose } from "./prose.js";
import { boundsOf, childrenOf, resolved, typeOf } from "./spec.js";

/** The fields of `schema`, or what kind of value it is if it has none. */
export function Schema({ doc, schema }) {
  const children = childrenOf(doc, schema);
  if (children.length === 0) return html`<${Value} doc=${doc} schema=${schema} />`;
  return html`<${Fields} doc=${doc} fields=${children} />`;
}

/** Rows: `{ name, schema, required, where, description, isForm }`. */
export const Fields = ({ doc, fields }) => html`
  <ul class="docs-fields" dir="ltr">
    ${fields.map((field) => html`<li key=${field.name}><${Field} doc=${doc} field=${field} /></li>`)}
  </ul>
`;

function Field({ doc, field }) {
  const [isOpen, setIsOpen] = useState(false);
  const children = childrenOf(doc, field.schema);
  const head = html`
    <code class=${field.isForm ? "docs-form" : "docs-name"}>${field.name}</code>
    ${!field.isForm && html`<span class="docs-type">${typeOf(doc, field.schema)}</span>`}
    ${field.where && html`<${Badge}>${field.where}<//>`}
    ${field.required && html`<${Badge} kind="gold">${t("docs.required")}<//>`}
  `;
  return html`
    ${children.length === 0
      ? html`<p class="docs-field">${head}</p>`
      : html`<button
          type="button"
          class="docs-field"
          aria-expanded=${isOpen}
          onClick=${() => setIsOpen(!isOpen)}
        >
          <span class="docs-arrow" aria-hidden="true">${isOpen ? "−" : "+"}</span>${head}
        </button>`}
    <${Value} doc=${doc} schema=${field.schema} description=${field.description} untyped />
    ${isOpen && html`<${Fields} doc=${doc} fields=${children} />`}
  `;
}

/** What a value may be, and what it means. */
function Value({ doc, schema: node, description, untyped }) {
  const schema = resolved(doc, node);
  const words = node?.description ?? schema.description;
  const facts = factsOf(doc, schema);
  return html`
    <div class="docs-value">
      ${!untyped && html`<span class="docs-type">${typeOf(doc, node)}</span>`}
      <${Prose} text=${description ?? words} />
      ${description && words && words !== description && html`<${Prose} text=${words} />`}
      ${facts.map(
        ([name, values]) => html`<p class="docs-fact">
          <span>${t(name)}</span> ${values.map((value) => html`<code>${value}</code> `)}
        </p>`,
      )}
    </div>
  `;
}

/** Bounds, choices and examples, those of the forms of a value too. */
function factsOf(doc, schema) {
  const facts = [];
  const forms = [schema, ...(schema.oneOf ?? schema.anyOf ?? []).map((form) => resolved(doc, form))];
  const all = (read) => [...new Set(forms.flatMap(read))];
  const add = (name, values) => values.length > 0 && facts.push([name, values]);
  const shown = (value) => JSON.stringify(value);
  add("docs.bounds", all(boundsOf));
  add("docs.choices", all((form) => form.enum ?? []).map(shown));
  add("docs.always", all((form) => (form.const === undefined ? [] : [form.const])).map(shown));
  add("docs.default", all((form) => (form.default === undefined ? [] : [form.default])).map(shown));
  add("docs.examples", all((form) => form.examples ?? []).map(shown));
  return facts;
}
