// Where an order stands, in a word.
import { html } from "../../lib/ui.js";
import { Badge } from "../../lib/parts.js";
import { t } from "../../lib/words.js";

const KINDS = { paid: "good", created: "gold", pending: "gold", failed: "bad", expired: "warn" };

/** Those that the customer or the provider may still change by themselves. */
export const isOpen = (topup) => topup.status === "created" || topup.status === "pending";

/** Those that have a receipt. */
export const isPaid = (topup) => topup.paid_at !== null;

export const Status = ({ topup }) => html`
  <${Badge} kind=${KINDS[topup.status] ?? ""}>${t(`billing.status_${topup.status}`)}<//>
`;
