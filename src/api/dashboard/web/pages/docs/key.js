// The key that the examples are filled with. It is kept in this page's memory only, and for the one
// who gave it: whoever signs in next does not find it.
import { html } from "../../lib/ui.js";
import { api } from "../../lib/api.js";
import { isOperator, may, me } from "../../lib/session.js";
import { useAction, useLoad } from "../../lib/load.js";
import { Button, Field, Problem, say } from "../../lib/parts.js";
import { store } from "../../lib/store.js";
import { t } from "../../lib/words.js";

const kept = store({ key: "", of: null });
const chosen = store("");

/** The label of keys that are made here, by which they are known in the list of keys. */
const LABEL = "API documentation";

/** The key for the examples, or an empty text. */
export function useKey() {
  const { key, of } = kept.use();
  return of === me.use() ? key : "";
}

/** Fills the examples with `key`. */
export const keep = (key) => kept.set({ key: key.trim(), of: me.get() });

/** The models that the caller may ask, and the one that the examples name. */
export function useModel(doc) {
  const who = me.use();
  const asks = who && !isOperator(who) && may("inference");
  const models = useLoad((signal) => (asks ? api("/v1/models", { signal }) : null), [asks]);
  const picked = chosen.use();
  const all = models.data?.data.map(({ id }) => id) ?? [];
  const [told] = doc.components?.schemas?.ChatCompletionRequest?.properties?.model?.examples ?? [];
  return { all, model: all.includes(picked) ? picked : (all[0] ?? told ?? "MODEL") };
}

/** The key and the model, to be chosen once for all examples. */
export function Filling({ doc }) {
  const key = useKey();
  const { all, model } = useModel(doc);
  const make = useAction(async () => {
    const scopes = ["inference", "usage"].filter(may);
    keep((await api("/api/v1/keys", { method: "POST", body: { label: LABEL, scopes } })).secret);
    say(t("docs.key_made", { label: LABEL }));
  });
  return html`
    <div class="docs-filling">
      <${Field}
        label=${t("docs.key")}
        hint=${t("docs.key_hint")}
        value=${key}
        onValue=${keep}
        placeholder="mz-…"
        class="mono"
        dir="ltr"
        autocomplete="off"
        autocapitalize="off"
        spellcheck=${false}
      />
      ${may("keys") &&
      may("inference") &&
      html`<${Button} icon="key" busy=${make.busy} onClick=${make.run}>${t("docs.make_key")}<//>`}
      ${all.length > 1 &&
      html`<${Field}
        label=${t("docs.model")}
        type="select"
        options=${all.map((id) => [id, id])}
        value=${model}
        onValue=${chosen.set}
      />`}
    </div>
    <${Problem} error=${make.error} />
  `;
}
