// The request of the playground as a program that makes the same one.

/** A place for the key, where the page knows none. */
export const KEY = "YOUR_KEY";

const indented = (value, by) => JSON.stringify(value, null, 2).replaceAll("\n", `\n${by}`);

/** For a shell: a single quote in the text ends the quoted part and stands for itself. */
export const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

const curl = (base, body, key = KEY) => `curl ${base}/v1/chat/completions \\
  -H 'Authorization: Bearer ${key}' \\
  -H 'Content-Type: application/json' \\
  -d ${quoted(JSON.stringify(body, null, 2))}`;

/** JSON's text is also Python's, but for three words; none of them occurs in this body. */
const python = (base, { model, messages, ...rest }, key = KEY) => `from openai import OpenAI

client = OpenAI(base_url="${base}/v1", api_key="${key}")
answer = client.chat.completions.create(
    model=${JSON.stringify(model)},
    messages=${indented(messages, "    ")},${Object.entries(rest)
      .map(([name, value]) => `\n    ${name}=${JSON.stringify(value)},`)
      .join("")}
)
print(answer.choices[0].message.content)`;

const javascript = (base, body, key = KEY) => `import OpenAI from "openai";

const client = new OpenAI({ baseURL: "${base}/v1", apiKey: "${key}" });
const answer = await client.chat.completions.create(${indented(body, "")});
console.log(answer.choices[0].message.content);`;

/** The languages on offer, in this order. */
export const LANGUAGES = [
  ["curl", "curl", curl],
  ["python", "Python", python],
  ["javascript", "JavaScript", javascript],
];

/** The request `body` in the language called `name`. */
export const asCode = (name, base, body, key) =>
  LANGUAGES.find(([language]) => language === name)[2](base, body, key);
