// The first request, in the languages that people use, with this server's address.
import { html, useState } from "../../lib/ui.js";
import { Card, Code, Segmented } from "../../lib/parts.js";
import { t } from "../../lib/words.js";
import { KEY, asCode, quoted } from "../playground/as_code.js";
import { Filling, useKey, useModel } from "./key.js";
import { Prose } from "./prose.js";

const MESSAGES = [{ role: "user", content: "What is the capital of Kuwait?" }];

const anthropicCurl = (origin, body, key) => `curl ${origin}/v1/messages \\
  -H 'x-api-key: ${key}' \\
  -H 'anthropic-version: 2023-06-01' \\
  -H 'Content-Type: application/json' \\
  -d ${quoted(JSON.stringify(body, null, 2))}`;

/** Anthropic's client adds `/v1` to the address itself. */
const anthropicPython = (origin, body, key) => `from anthropic import Anthropic

client = Anthropic(base_url="${origin}", api_key="${key}")
answer = client.messages.create(
    model=${JSON.stringify(body.model)},
    max_tokens=${body.max_tokens},
    messages=${JSON.stringify(body.messages)},
)
print(answer.content[0].text)`;

const openai = (language) => (origin, { model, messages }, key) =>
  asCode(language, origin, { model, messages }, key);

/** Each: its name, what has to be installed, and the program. */
const WAYS = [
  ["curl", "curl", null, openai("curl")],
  ["python", "Python", "pip install openai", openai("python")],
  ["javascript", "JavaScript", "npm install openai", openai("javascript")],
  ["anthropic", "Anthropic", "pip install anthropic", anthropicPython],
  ["anthropic_curl", "Anthropic (curl)", null, anthropicCurl],
];

export function QuickStart({ doc }) {
  const [way, setWay] = useState(WAYS[0][0]);
  const key = useKey();
  const { model } = useModel(doc);
  const [, , install, write] = WAYS.find(([name]) => name === way);
  const program = write(location.origin, { model, max_tokens: 60, messages: MESSAGES }, key || KEY);
  return html`
    <${Card} title=${t("docs.start")}>
      <p>${t("docs.start_lead")}</p>
      <dl class="docs-base">
        <dt>${t("docs.openai_base")}</dt>
        <dd><code dir="ltr">${location.origin}/v1</code></dd>
        <dt>${t("docs.anthropic_base")}</dt>
        <dd><code dir="ltr">${location.origin}</code></dd>
      </dl>
      <${Filling} doc=${doc} />
      <div class="docs-ways">
        <${Segmented}
          label=${t("docs.way")}
          options=${WAYS.map(([name, words]) => [name, words])}
          value=${way}
          onValue=${setWay}
        />
      </div>
      ${install && html`<${Code} text=${install} />`}
      <${Code} text=${program} />
    <//>
    <${Card} title=${t("docs.about")}>
      <${Prose} text=${doc.info.description} />
    <//>
  `;
}
