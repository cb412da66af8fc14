// Who takes payments, in people's words. A provider that came later is shown by its own name.
import { t } from "../../lib/words.js";

const KNOWN = ["manual", "tap", "myfatoorah"];

export const providerName = (provider) =>
  KNOWN.includes(provider) ? t(`billing.provider_${provider}`) : provider;

export const providerHint = (provider) =>
  KNOWN.includes(provider) ? t(`billing.provider_${provider}_hint`) : "";

/** A bank transfer has no page of a provider, and takes days. */
export const isTransfer = (provider) => provider === "manual";

/** Whether a provider's address can be gone to: a page, and nothing that a browser would run. */
export const isPage = (url) => /^https?:\/\//i.test(url);
