// Redeeming a voucher's code: 16 characters in groups of four, however they were written down.
import { html, useState } from "../../lib/ui.js";
import { api } from "../../lib/api.js";
import { readCredits } from "../../lib/session.js";
import { useAction } from "../../lib/load.js";
import { Button, Card, Field, Form } from "../../lib/parts.js";
import { Icon } from "../../lib/icons.js";
import { credits, number } from "../../lib/format.js";
import { t } from "../../lib/words.js";

const LENGTH = 16;
const WORDS = ["voucher_unknown", "voucher_used", "voucher_expired", "voucher_void"];

const plain = (text) => text.replace(/[\s-]/g, "").toUpperCase();
const grouped = (text) => plain(text).slice(0, LENGTH).replace(/(.{4})(?=.)/g, "$1-");

/** What can be seen without asking; each try that is wrong counts against a limit. */
function fault(code) {
  const text = plain(code);
  if (/[^2-9A-HJKMNP-Z]/.test(text)) return t("billing.code_letters");
  if (text.length !== LENGTH) return t("billing.code_length", { count: text.length, n: number(text.length) });
  return null;
}

export function Voucher() {
  const [code, setCode] = useState("");
  const [wrong, setWrong] = useState(null);
  const [result, setResult] = useState(null);
  const [lost, setLost] = useState(null);
  const redeem = useAction(async () => {
    try {
      const body = { code: grouped(code) };
      const redeemed = await api("/api/v1/vouchers/redeem", { method: "POST", body });
      setResult(redeemed);
      setCode("");
      readCredits().catch(() => {});
    } catch (error) {
      if (error.status === 0) setLost(grouped(code));
      throw worded(error, lost === grouped(code));
    }
  });

  const type = (event) => {
    const { value, selectionStart } = event.target;
    setWrong(null);
    redeem.clear();
    // Dashes come by themselves at the end; in the middle they would move the cursor.
    setCode(selectionStart === value.length && value.length > code.length ? grouped(value) : value);
  };
  const submit = () => {
    setResult(null);
    const found = fault(code);
    setWrong(found);
    if (!found) redeem.run();
  };

  return html`
    <${Card} title=${t("billing.voucher")}>
      <${Form} onSubmit=${submit} error=${redeem.error}>
        <div class="voucher">
          <${Field}
            label=${t("billing.code")}
            hint=${t("billing.code_hint")}
            error=${wrong}
            value=${code}
            onInput=${type}
            onBlur=${() => plain(code).length <= LENGTH && setCode(grouped(code))}
            placeholder="XXXX-XXXX-XXXX-XXXX"
            class="mono"
            dir="ltr"
            autocomplete="off"
            autocapitalize="characters"
            spellcheck=${false}
          />
          <${Button} type="submit" icon="gift" busy=${redeem.busy}>${t("billing.redeem")}<//>
        </div>
      <//>
      <div role="status">
        ${result &&
        html`<p class="billing-done">
          <${Icon} name="check" />
          ${t("billing.redeemed", { credits: credits(result.credits), balance: number(result.balance) })}
        </p>`}
      </div>
    <//>
  `;
}

/** The refusal in the page's language. `again`: this code was sent before, and no answer came. */
function worded(error, again) {
  if (!WORDS.includes(error.code)) return error;
  const name = error.code === "voucher_used" && again ? "voucher_used_by_us" : error.code;
  return Object.assign(error, { message: t(`billing.${name}`) });
}
