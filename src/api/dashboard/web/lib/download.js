// A file that the server writes, of any length: the browser stores it as it comes.
import { html } from "./ui.js";
import { api } from "./api.js";
import { Icon } from "./icons.js";
import { useAction } from "./load.js";
import { Problem } from "./parts.js";
import { saveFrom } from "./save.js";
import { t } from "./words.js";

/** A link to a table as CSV. Asks first whether the sign-in still counts: an error is no table. */
export function CsvLink({ href }) {
  const { run, error } = useAction(async () => {
    await api("/api/v1/me");
    saveFrom(href);
  });
  const begin = (event) => {
    event.preventDefault();
    run();
  };
  return html`
    <a class="button quiet" href=${href} download onClick=${begin}>
      <${Icon} name="down" />${t("common.download_csv")}
    </a>
    <${Problem} error=${error} />
  `;
}
