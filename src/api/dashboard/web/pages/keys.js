// Keys: what programs show to be let in. The list, making one, and taking one back.
import { html, useState } from "../lib/ui.js";
import { api, withQuery } from "../lib/api.js";
import { may } from "../lib/session.js";
import { useLoad } from "../lib/load.js";
import { Button, Card, Loaded, Page } from "../lib/parts.js";
import { t } from "../lib/words.js";
import { KeyTable } from "./keys/key_table.js";
import { NewKey } from "./keys/new_key.js";
import { Revoke } from "./keys/revoke.js";
import { earliestStart, usedIn } from "./keys/periods.js";
import "../words/keys.js";

export default function Keys() {
  const keys = useLoad((signal) => api("/api/v1/keys", { signal }));
  const [isMaking, setIsMaking] = useState(false);
  const [leaving, setLeaving] = useState(null);
  const used = usePeriods(keys.data);

  const tables = ({ data }) => {
    const over = data.filter((key) => key.revoked || key.expired);
    const open = data.filter((key) => !over.includes(key));
    return html`
      <${Card}>
        <${KeyTable} caption=${t("keys.active")} rows=${open} used=${used} onRevoke=${setLeaving} />
      <//>
      ${over.length > 0 &&
      html`<details class="card keys-over">
        <summary><h2>${t("keys.over", { count: over.length, n: over.length })}</h2></summary>
        <${KeyTable} caption=${t("keys.over_table")} rows=${over} used=${used} />
      </details>`}
    `;
  };

  return html`
    <${Page}
      wide
      title=${t("pages.keys")}
      lead=${t("keys.lead")}
      actions=${html`<${Button} kind="primary" icon="plus" onClick=${() => setIsMaking(true)}>
        ${t("keys.new")}
      <//>`}
    >
      <div class="stack"><${Loaded} from=${keys}>${tables}<//></div>
      ${isMaking && html`<${NewKey} onClose=${() => setIsMaking(false)} onChange=${keys.reload} />`}
      ${leaving &&
      html`<${Revoke} of=${leaving} onClose=${() => setLeaving(null)} onChange=${keys.reload} />`}
    <//>
  `;
}

/** `(key) => credits`: what keys with a limit spent in its period; unknown without the scope for it. */
function usePeriods(keys) {
  const isNeeded = may("usage") && (keys?.data.some((key) => key.limit_reset) ?? false);
  const path = withQuery("/api/v1/usage", { from: earliestStart(), group_by: "day,key" });
  const usage = useLoad((signal) => (isNeeded ? api(path, { signal }) : null), [isNeeded, path]);
  return (key) => (key.limit_reset ? usage.data && usedIn(usage.data.data, key) : key.usage);
}
