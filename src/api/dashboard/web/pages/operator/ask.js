// A dialog that asks for what an act needs, and does it. The answer to a mistake stands in it.
import { html, useState } from "../../lib/ui.js";
import { useAction } from "../../lib/load.js";
import { Button, Dialog, Field, Form, Loaded, say } from "../../lib/parts.js";
import { t } from "../../lib/words.js";

/**
 * `fields`: `[{ name, label, ... }]`, as `Field` takes them; `act(values)` does it, and what it says
 * with `done` is shown. `kind`: "danger" for what can not be taken back. `from`: what the fields are
 * made of, if it has to be read.
 */
export function Ask({ title, lead, fields, from, word, kind = "primary", act, done, onClose }) {
  const [written, setWritten] = useState({});
  const value = ({ name, initial = "" }) => written[name] ?? initial;
  const action = useAction(async () => {
    await act(Object.fromEntries(fields.map((field) => [field.name, value(field)])));
    if (done) say(done);
    onClose();
  });
  const drawn = ({ name, initial, ...field }) => html`
    <${Field}
      key=${name}
      ...${field}
      error=${action.error?.param === name && action.error.message}
      value=${value({ name, initial })}
      onValue=${(text) => setWritten((old) => ({ ...old, [name]: text }))}
    />
  `;
  const form = () => html`
    <${Form}
      onSubmit=${action.run}
      error=${action.error}
      buttons=${html`
        <${Button} onClick=${onClose}>${t("common.cancel")}<//>
        <${Button} kind=${kind} type="submit" busy=${action.busy}>${word}<//>
      `}
    >
      ${fields.map(drawn)}
    <//>
  `;
  return html`
    <${Dialog} title=${title} onClose=${onClose}>
      ${lead && html`<p class="ask-lead">${lead}</p>`}
      ${from ? html`<${Loaded} from=${from}>${form}<//>` : form()}
    <//>
  `;
}
