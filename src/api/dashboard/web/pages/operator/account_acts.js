// What an operator does to an account. Each asks for a reason or a confirmation, and is in the audit.
import { html, useState } from "../../lib/ui.js";
import { ApiError, api, newIdempotencyKey } from "../../lib/api.js";
import { useLoad } from "../../lib/load.js";
import { t } from "../../lib/words.js";
import { Ask } from "./ask.js";

/** Whole credits of a field, or the words that say what is wrong. */
function whole(text, name) {
  const digits = text.replace(/[,\s]/g, "");
  if (/^[+-]?\d{1,15}$/.test(digits)) return Number(digits);
  throw new ApiError(400, { message: t("accounts.not_whole"), param: name });
}

const amount = (hint) => ({
  name: "credits",
  label: t("accounts.credits"),
  hint,
  inputmode: "numeric",
  dir: "ltr",
  required: true,
});

const reason = () => ({
  name: "reason",
  label: t("accounts.reason"),
  hint: t("accounts.reason_hint"),
  required: true,
});

export function Act({ which, account, path, onClose }) {
  // One wish, however often it is sent: a lost answer must not grant twice.
  const [key] = useState(newIdempotencyKey);
  const plans = useLoad((signal) => api("/api/v1/admin/plans", { signal }));
  const post = (what, body) =>
    api(`${path}/${what}`, { method: "POST", body, headers: { "idempotency-key": key } });
  const patch = (body) => api(path, { method: "PATCH", body });
  const acts = {
    grant: {
      fields: [amount(), reason()],
      act: (values) => post("grants", { ...values, credits: whole(values.credits, "credits") }),
    },
    correct: {
      lead: t("accounts.correct_lead"),
      fields: [amount(t("accounts.correct_hint")), reason()],
      act: (values) => post("corrections", { ...values, credits: whole(values.credits, "credits") }),
    },
    change_plan: {
      fields: [
        {
          name: "plan",
          label: t("accounts.plan"),
          type: "select",
          options: (plans.data?.data ?? []).map(({ name }) => [name, name]),
          initial: account.plan,
        },
      ],
      from: plans,
      act: patch,
    },
    freeze: {
      lead: t("accounts.freeze_lead"),
      fields: [],
      act: () => patch({ frozen: true }),
      kind: "danger",
    },
    thaw: { lead: t("accounts.thaw_lead"), fields: [], act: () => patch({ frozen: false }) },
    close: {
      lead: t("accounts.close_lead"),
      fields: [{ name: "name", label: t("accounts.close_name", { name: account.name }), required: true }],
      act: ({ name }) => {
        if (name === account.name) return post("close", {});
        throw new ApiError(400, { message: t("accounts.close_differs"), param: "name" });
      },
      kind: "danger",
    },
  };
  return html`
    <${Ask}
      title=${`${t(`accounts.${which}`)}: ${account.name}`}
      word=${t(`accounts.${which}`)}
      done=${t("accounts.done")}
      onClose=${onClose}
      ...${acts[which]}
    />
  `;
}
