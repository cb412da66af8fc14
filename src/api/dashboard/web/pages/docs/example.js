// A request that can be sent, made from an operation's schemas.
import { quoted } from "../playground/as_code.js";
import { bodyOf, callersOf, resolved } from "./spec.js";

const KEYS = { key: "YOUR_KEY", user: "YOUR_KEY", operator: "YOUR_OPERATOR_KEY" };

/** What says more than any text that fits the schema. */
const TELLING = {
  messages: [{ role: "user", content: "Hello!" }],
  input: "Hello!",
  prompt: "Once upon a time",
  content: "Hello!",
  max_tokens: 60,
};

/** Schemas may contain themselves; an example has an end. */
const DEEPEST = 6;

/** A value that fits: of an object what it must have. `known`: values of fields by name. */
export function exampleOf(doc, node, known = {}, name = "", depth = 0) {
  const schema = resolved(doc, node);
  if (name in known) return known[name];
  const [told] = schema.examples ?? [];
  for (const value of [schema.const, told, schema.example]) if (value !== undefined) return value;
  if (depth > DEEPEST) return null;
  const [form] = schema.oneOf ?? schema.anyOf ?? [];
  if (form) return exampleOf(doc, form, known, name, depth + 1);
  if (schema.default !== undefined && schema.default !== null) return schema.default;
  if (schema.enum) return schema.enum[0];
  const [type] = [schema.type ?? (schema.properties ? "object" : "string")].flat();
  if (type === "object") {
    const needed = schema.required ?? [];
    const value = (field) => exampleOf(doc, schema.properties?.[field], known, field, depth + 1);
    return Object.fromEntries(needed.map((field) => [field, value(field)]));
  }
  if (type === "array") return [exampleOf(doc, schema.items, known, "", depth + 1)];
  if (type === "integer" || type === "number") return Math.max(schema.minimum ?? 1, 1);
  if (type === "boolean") return true;
  if (type === "null") return null;
  const text = name || "text";
  return text.padEnd(schema.minLength ?? 0, text);
}

/** The operation as a line for a shell. `values`: `{ origin, key, model }`. */
export function curlOf(doc, operation, { origin, key, model }) {
  const known = { ...TELLING, model };
  const callers = callersOf(doc, operation);
  const parameters = (operation.parameters ?? []).map((parameter) => resolved(doc, parameter));
  // Ids stand as they are named, for whoever copies the line to put in.
  const path = operation.path.replace(/\{(\w+)\}/g, (_, name) => name.toUpperCase());
  const needed = (place) => parameters.filter((parameter) => parameter.in === place && parameter.required);
  const text = (parameter) => String(exampleOf(doc, parameter.schema, {}, parameter.name));
  const query = new URLSearchParams(needed("query").map((parameter) => [parameter.name, text(parameter)]));
  const url = `${origin}${path}${query.size > 0 ? `?${query}` : ""}`;
  const method = operation.method === "get" ? "" : ` -X ${operation.method.toUpperCase()}`;
  const lines = [`curl${method} ${quoted(url)}`];
  const [who] = ["key", "operator", "user"].filter((kind) => callers[kind]);
  if (!callers.anybody && who) {
    const shown = who === "operator" ? KEYS.operator : key || KEYS[who];
    lines.push(`-H ${quoted(`Authorization: Bearer ${shown}`)}`);
  }
  for (const parameter of needed("header")) {
    lines.push(`-H ${quoted(`${parameter.name}: ${text(parameter)}`)}`);
  }
  const body = bodyOf(doc, operation);
  if (body) {
    const [told] = Object.values(body.media.examples ?? {});
    const value = told?.value ?? body.media.example ?? exampleOf(doc, body.media.schema, known);
    lines.push(`-H ${quoted(`Content-Type: ${body.type}`)}`, `-d ${quoted(JSON.stringify(value, null, 2))}`);
  }
  return lines.join(" \\\n  ");
}
