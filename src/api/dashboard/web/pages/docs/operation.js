// One operation: who may call it, what it takes, what it answers, and a line to try it with.
import { html, useEffect, useRef } from "../../lib/ui.js";
import { Badge, Card, Code } from "../../lib/parts.js";
import { t } from "../../lib/words.js";
import { curlOf } from "./example.js";
import { Filling, useKey, useModel } from "./key.js";
import { Method } from "./list.js";
import { Prose } from "./prose.js";
import { Fields, Schema } from "./schema.js";
import { bodyOf, callersOf, refName, resolved } from "./spec.js";

export function Operation({ doc, operation }) {
  const heading = useRef(null);
  useEffect(() => {
    heading.current.focus({ preventScroll: true });
    // On a phone the list stands above.
    if (heading.current.getBoundingClientRect().top < 0) heading.current.scrollIntoView();
  }, []);
  const key = useKey();
  const { model } = useModel(doc);
  const parameters = (operation.parameters ?? []).map((parameter) => resolved(doc, parameter));
  const body = bodyOf(doc, operation);
  const callers = callersOf(doc, operation);
  return html`
    <article class="stack">
      <header class="card">
        <h2 class="docs-title" ref=${heading} tabindex="-1" lang="en" dir="ltr">${operation.summary}</h2>
        <p class="docs-path" dir="ltr">
          <${Method} name=${operation.method} /> <code>${operation.path}</code>
        </p>
        ${operation.also.map(
          (path) => html`<p class="hint">${t("docs.also")} <code dir="ltr">${path}</code></p>`,
        )}
        <${Prose} text=${operation.description} />
        <${Callers} of=${callers} />
      </header>
      <${Card} title=${t("docs.try")}>
        ${(callers.key || callers.user) && html`<${Filling} doc=${doc} />`}
        <${Code} text=${curlOf(doc, operation, { origin: location.origin, key, model })} />
      <//>
      ${parameters.length > 0 &&
      html`<${Card} title=${t("docs.parameters")}>
        <${Fields}
          doc=${doc}
          fields=${parameters.map((parameter) => ({ ...parameter, where: parameter.in }))}
        />
      <//>`}
      ${body &&
      html`<${Card} title=${t("docs.body")}>
        <p class="row docs-kind" dir="ltr">
          <code>${body.type}</code> ${body.required && html`<${Badge} kind="gold">${t("docs.required")}<//>`}
        </p>
        <${Prose} text=${body.description ?? resolved(doc, body.media.schema).description} />
        <${Schema} doc=${doc} schema=${body.media.schema} />
        <${Examples} of=${body.media} />
      <//>`}
      <${Card} title=${t("docs.answers")}>
        ${Object.entries(operation.responses).map(
          ([status, response]) => html`<${Answer}
            key=${status}
            doc=${doc}
            status=${status}
            response=${resolved(doc, response)}
          />`,
        )}
      <//>
    </article>
  `;
}

const Callers = ({ of: callers }) => html`
  <p class="row docs-callers">
    <b>${t("docs.callers")}</b>
    ${["anybody", "key", "user", "operator"]
      .filter((kind) => callers[kind])
      .map((kind) => html`<${Badge} kind="good">${t(`docs.by_${kind}`)}<//>`)}
    ${callers.scope && html`<span>${t("docs.scope")} <code>${callers.scope}</code></span>`}
  </p>
`;

/** What is answered with one status; the first, which is no error, is open. */
function Answer({ doc, status, response }) {
  const headers = Object.entries(response.headers ?? {}).map(([name, header]) => {
    const { schema, description } = resolved(doc, header);
    return { name, schema, description };
  });
  return html`
    <details class="docs-answer" open=${status.startsWith("2")}>
      <summary dir="ltr">
        <${Badge} kind=${status.startsWith("2") ? "good" : "bad"}>${status}<//>
        <span lang="en">${firstSentence(response.description)}</span>
      </summary>
      <${Prose} text=${response.description} />
      ${Object.entries(response.content ?? {}).map(
        ([type, media]) => html`
          <h3 class="docs-kind" dir="ltr">
            <code>${type}</code> ${refName(media.schema) && html`<small>${refName(media.schema)}</small>`}
          </h3>
          <${Schema} doc=${doc} schema=${media.schema} />
          ${media.schema?.contentSchema &&
          html`
            <h4 class="docs-kind">${t("docs.each_frame")}</h4>
            <${Schema} doc=${doc} schema=${media.schema.contentSchema} />
          `}
          <${Examples} of=${media} />
        `,
      )}
      ${headers.length > 0 &&
      html`<details class="docs-kind">
        <summary>${t("docs.headers")}</summary>
        <${Fields} doc=${doc} fields=${headers} />
      </details>`}
    </details>
  `;
}

const firstSentence = (text = "") => text.replaceAll("`", "").split(/(?<=\.)\s/)[0];

/** Whole examples, where the document has them. */
const Examples = ({ of: media }) => {
  const named = Object.values(media.examples ?? {}).map(({ value }) => value);
  return [media.example, ...named]
    .filter((value) => value !== undefined)
    .map((value) => html`<${Code} text=${JSON.stringify(value, null, 2)} />`);
};
