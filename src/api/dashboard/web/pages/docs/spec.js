// What an OpenAPI 3.1 document says, in the form in which the page shows it. Knows no page.

const METHODS = ["get", "post", "put", "patch", "delete"];

/** `node`, or what its `$ref` names. */
export function resolved(doc, node) {
  let found = node;
  while (found?.$ref) {
    const steps = found.$ref.slice(2).split("/");
    found = steps.reduce((at, step) => at?.[step.replaceAll("~1", "/").replaceAll("~0", "~")], doc);
  }
  return found ?? {};
}

/** The name behind a `$ref`, such as `ChatMessage`. */
export const refName = (node) => node?.$ref?.split("/").at(-1);

/**
 * All operations, in the document's order: `{ id, method, path, also, tag, ... }`. The same operation
 * at a second address is not listed again, but named in `also`.
 */
export function operationsOf(doc) {
  const found = [];
  for (const [path, item] of Object.entries(doc.paths)) {
    for (const method of METHODS.filter((known) => item[known])) {
      const operation = item[method];
      const tag = operation.tags?.[0] ?? "";
      const twin = found.find(
        (known) =>
          known.method === method &&
          known.tag === tag &&
          known.summary === operation.summary &&
          isTwin(known.path, path),
      );
      if (twin) twin.also.push(path);
      else found.push({ ...operation, id: operation.operationId, method, path, also: [], tag });
    }
  }
  return found;
}

/** OpenAI's routes answer below `/api` too. */
const isTwin = (path, other) => other === `/api${path}`;

/** Who may call: `{ anybody, key, user, operator, scope }`. */
export function callersOf(doc, operation) {
  const security = operation.security ?? doc.security ?? [];
  const has = (name) => security.some((way) => name in way);
  return {
    anybody: security.length === 0 || security.some((way) => Object.keys(way).length === 0),
    key: has("accountKey"),
    user: has("session") && !has("operatorKey"),
    operator: has("operatorKey"),
    scope: operation["x-scope"],
  };
}

/** The schema that a body is shown by: JSON's if there is one. */
export function bodyOf(doc, operation) {
  const body = resolved(doc, operation.requestBody);
  const kinds = Object.entries(body.content ?? {});
  const [type, media] = kinds.find(([kind]) => kind === "application/json") ?? kinds[0] ?? [];
  return media && { type, media, required: body.required === true, description: body.description };
}

/** What kind of value it is, as one reads it: `array of ChatMessage`. */
export function typeOf(doc, schema) {
  if (schema === true || schema === undefined) return "any";
  const name = refName(schema);
  if (name) return name;
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) return [...new Set(choices.map((choice) => typeOf(doc, choice)))].join(" | ");
  const untyped = schema.properties ? "object" : schema.const !== undefined ? "const" : "any";
  return [schema.type ?? untyped]
    .flat()
    .map((type) => (type === "array" && schema.items ? `array<${typeOf(doc, schema.items)}>` : type))
    .join(" | ");
}

const LIMITS = [
  ["minimum", "maximum", ""],
  ["minLength", "maxLength", "length"],
  ["minItems", "maxItems", "items"],
];

/** The bounds of a value: `0 ≤ n ≤ 2`, `length ≤ 64`. */
export function boundsOf(schema) {
  const bounds = [];
  for (const [least, most, what] of LIMITS) {
    const [low, high] = [schema[least], schema[most]];
    if (low === undefined && high === undefined) continue;
    const name = what || "n";
    bounds.push(`${low === undefined ? "" : `${low} ≤ `}${name}${high === undefined ? "" : ` ≤ ${high}`}`);
  }
  if (schema.format) bounds.push(schema.format);
  if (schema.pattern) bounds.push(`/${schema.pattern}/`);
  return bounds;
}

/**
 * What a value is made of, to be shown when it is opened: fields of an object, forms that it may
 * have, what a list or a map holds. Empty for plain values.
 */
export function childrenOf(doc, node) {
  const schema = resolved(doc, node);
  const choices = (schema.oneOf ?? schema.anyOf ?? []).filter((choice) => childrenOf(doc, choice).length > 0);
  if (choices.length === 1) return childrenOf(doc, choices[0]);
  if (choices.length > 1) {
    const name = (choice) => resolved(doc, choice).title ?? refName(choice) ?? typeOf(doc, choice);
    return choices.map((choice) => ({ name: name(choice), schema: choice, isForm: true }));
  }
  const required = schema.required ?? [];
  const children = (schema.allOf ?? []).flatMap((part) => childrenOf(doc, part));
  for (const [name, field] of Object.entries(schema.properties ?? {})) {
    children.push({ name, schema: field, required: required.includes(name) });
  }
  if (schema.items && children.length === 0) return childrenOf(doc, schema.items);
  const rest = schema.additionalProperties;
  if (rest && typeof rest === "object") children.push({ name: "*", schema: rest });
  return children;
}
