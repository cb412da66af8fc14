// Making a key: what it may do, how much it may spend, and its secret, which is shown this once.
import { html, useState } from "../../lib/ui.js";
import { api } from "../../lib/api.js";
import { me } from "../../lib/session.js";
import { useAction } from "../../lib/load.js";
import { Button, Check, Dialog, Field, Form } from "../../lib/parts.js";
import { LAST_DAY, dayOf } from "../../lib/days.js";
import { t } from "../../lib/words.js";
import { Secret } from "./secret.js";

/** What a new key may do unless somebody chooses otherwise: as the API's default. */
const PROPOSED = ["inference", "usage"];
const PERIODS = ["monthly", "weekly", "daily", ""];
const MOST = 1_000_000_000_000;

const DAY_SECS = 86_400;

/** The end of a day in Kuwait, as Unix seconds. */
const endOf = (day) => Date.parse(`${day}T00:00:00+03:00`) / 1000 + DAY_SECS;

/** Arabic keyboards have digits of their own, which follow one another as the Latin ones do. */
const latin = (text) => text.replace(/[٠-٩]/g, (digit) => digit.charCodeAt(0) - "٠".charCodeAt(0));

/** Credits of a text: `undefined` if it is empty, `null` if it is not a number that a limit may be. */
export function readLimit(text) {
  const digits = latin(text).replace(/[\s,٬]/g, "");
  if (digits === "") return undefined;
  return /^\d{1,13}$/.test(digits) && Number(digits) <= MOST ? Number(digits) : null;
}

export function NewKey({ onClose, onChange }) {
  const own = me.use().scopes;
  const [label, setLabel] = useState("");
  const [scopes, setScopes] = useState(PROPOSED.filter((scope) => own.includes(scope)));
  const [limit, setLimit] = useState("");
  const [reset, setReset] = useState(PERIODS[0]);
  const [total, setTotal] = useState("");
  const [end, setEnd] = useState("");
  const [made, setMade] = useState(null);
  const wrong = (text) => readLimit(text) === null && t("keys.not_a_limit");
  const isGood = label.trim() !== "" && scopes.length > 0 && !wrong(limit) && !wrong(total);

  const make = useAction(async () => {
    const body = {
      label: label.trim(),
      scopes,
      limit: readLimit(limit),
      limit_reset: readLimit(limit) === undefined ? undefined : reset || undefined,
      total_limit: readLimit(total),
      expires_at: end ? endOf(end) : undefined,
    };
    try {
      setMade(await api("/api/v1/keys", { method: "POST", body }));
    } finally {
      // Even without an answer it may have been made, and then stands in the list to be revoked.
      onChange();
    }
  });

  if (made) return html`<${Secret} made=${made} onClose=${onClose} />`;
  const tick = (scope) => (on) =>
    setScopes(own.filter((other) => (other === scope ? on : scopes.includes(other))));
  return html`
    <${Dialog} title=${t("keys.new")} onClose=${onClose}>
      <${Form}
        onSubmit=${() => isGood && make.run()}
        error=${make.error}
        buttons=${html`
          <${Button} onClick=${onClose}>${t("common.cancel")}<//>
          <${Button}
            kind="primary"
            type="submit"
            icon="key"
            busy=${make.busy}
            disabled=${scopes.length === 0}
          >
            ${t("keys.make")}
          <//>
        `}
      >
        <${Field}
          label=${t("keys.label")}
          hint=${t("keys.label_hint")}
          value=${label}
          onValue=${setLabel}
          maxlength="64"
          autocomplete="off"
          autofocus
          required
        />
        <fieldset class="keys-ticks">
          <legend>${t("keys.scopes")}</legend>
          ${own.map(
            (scope) => html`<${Check}
              checked=${scopes.includes(scope)}
              onValue=${tick(scope)}
              label=${html`<b>${t(`keys.scope_${scope}`)}</b> <small>${t(`keys.allows_${scope}`)}</small>`}
            />`,
          )}
        </fieldset>
        <div class="keys-pair">
          <${Field}
            label=${t("keys.limit")}
            hint=${t("keys.limit_hint")}
            error=${wrong(limit)}
            value=${limit}
            onValue=${setLimit}
            inputmode="numeric"
            dir="ltr"
          />
          <${Field}
            label=${t("keys.period")}
            type="select"
            options=${PERIODS.map((period) => [period, t(`keys.period_${period || "never"}`)])}
            value=${reset}
            onValue=${setReset}
            disabled=${limit.trim() === ""}
          />
          <${Field}
            label=${t("keys.total")}
            hint=${t("keys.total_hint")}
            error=${wrong(total)}
            value=${total}
            onValue=${setTotal}
            inputmode="numeric"
            dir="ltr"
          />
          <${Field}
            label=${t("keys.last_day")}
            hint=${t("keys.last_day_hint")}
            type="date"
            min=${dayOf(Date.now())}
            max=${LAST_DAY}
            value=${end}
            onValue=${setEnd}
          />
        </div>
      <//>
    <//>
  `;
}
