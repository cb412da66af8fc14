// What is to be shown: days, model, key, and for the operator the account.
import { html } from "../../lib/ui.js";
import { api, withQuery } from "../../lib/api.js";
import { useLoad } from "../../lib/load.js";
import { Button, Card, Field, Problem, Segmented } from "../../lib/parts.js";
import { LAST_DAY } from "../../lib/days.js";
import { number } from "../../lib/format.js";
import { t } from "../../lib/words.js";
import { SPANS, lastSpan, spanLength } from "./span.js";

export function Filters({ root, query, span, set, operator }) {
  const used = useChoices(root, query, span, operator);
  const accounts = useLoad((signal) => (operator ? api(`${root}/accounts`, { signal }) : null), [root]);
  const any = (choices, chosen) => {
    const known = chosen && !choices.some(([value]) => value === chosen) ? [[chosen, chosen]] : [];
    return [["", t("usage.all")], ...choices, ...known];
  };
  // A day that is only half typed is no day yet.
  const day = (name, range) => html`
    <${Field}
      label=${t(`usage.${name}`)}
      type="date"
      value=${span[name]}
      onValue=${(value) => value && set({ [name]: value })}
      ...${range}
    />
  `;
  const isFiltered = ["from", "to", "account", "model", "key", "finish"].some((name) => query[name]);
  const clear = { from: "", to: "", account: "", model: "", key: "", finish: "" };
  return html`
    <${Card}
      title=${t("usage.filters")}
      actions=${html`
        ${isFiltered && html`<${Button} kind="quiet" onClick=${() => set(clear)}>${t("usage.show_all")}<//>`}
        <${Segmented}
          label=${t("usage.span")}
          options=${SPANS.map((n) => [n, t("usage.last_days", { count: n, n: number(n) })])}
          value=${spanLength(span)}
          onValue=${(n) => set(lastSpan(n))}
        />
      `}
    >
      <div class="filters">
        ${day("from", { max: span.to })}${day("to", { min: span.from, max: LAST_DAY })}
        ${operator &&
        html`<${Field}
          label=${t("usage.account")}
          type="select"
          options=${any((accounts.data?.data ?? []).map(({ name }) => [name, name]), query.account)}
          value=${query.account ?? ""}
          onValue=${(account) => set({ account, key: "" })}
        />`}
        <${Field}
          label=${t("usage.model")}
          type="select"
          options=${any(used.models, query.model)}
          value=${query.model ?? ""}
          onValue=${(model) => set({ model })}
        />
        <${Field}
          label=${t("usage.key")}
          type="select"
          options=${any(used.keys, query.key)}
          value=${query.key ?? ""}
          onValue=${(key) => set({ key })}
        />
      </div>
      <${Problem} error=${accounts.error ?? used.error} />
    <//>
  `;
}

/** The models and keys that were used on these days: there may be more, and some may be gone. */
function useChoices(root, query, span, operator) {
  const path = withQuery(`${root}/usage`, {
    account: operator ? query.account : undefined,
    from: span.from,
    to: span.to,
    group_by: operator && !query.account ? "account,model,key" : "model,key",
  });
  const isGood = span.days.length > 0;
  const { data, error } = useLoad((signal) => (isGood ? api(path, { signal }) : null), [path, isGood]);
  const rows = data?.data ?? [];
  const models = [...new Set(rows.map((row) => row.model))].sort().map((id) => [id, id]);
  const named = ({ key, account }) => `${key.label || key.prefix}${account ? ` · ${account}` : ""}`;
  const keys = [...new Map(rows.map((row) => [String(row.key.id), named(row)]))];
  return { models, keys: keys.sort((a, b) => a[1].localeCompare(b[1])), error };
}
