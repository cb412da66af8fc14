// A dialog that asks for what an act needs, and does it. The answer to a mistake stands in it.
import { html, useState } from "../../lib/ui.js";
import { useAction } from "../../lib/load.js";
import { Button, Dialog, Field, Form, say } from "../../lib/parts.js";
import { t } from "../../lib/words.js";

/**
 * `fields`: `[{ name, label, ... }]`, as `Field` takes them; `act(values)` does it, and what it says
 * with `done` is shown. `kind`: "danger" for what can not be taken back.
 */
export function Ask({ title, lead, fields, word, kind = "primary", act, done, onClose }) {
  const [values, setValues] = useState(() =>
    Object.fromEntries(fields.map(({ name, initial = "" }) => [name, initial])),
  );
  const action = useAction(async () => {
    await act(values);
    if (done) say(done);
    onClose();
  });
  return html`
    <${Dialog} title=${title} onClose=${onClose}>
      ${lead && html`<p class="ask-lead">${lead}</p>`}
      <${Form}
        onSubmit=${action.run}
        error=${action.error}
        buttons=${html`
          <${Button} onClick=${onClose}>${t("common.cancel")}<//>
          <${Button} kind=${kind} type="submit" busy=${action.busy}>${word}<//>
        `}
      >
        ${fields.map(
          ({ name, initial, ...field }) => html`
            <${Field}
              key=${name}
              ...${field}
              error=${action.error?.param === name && action.error.message}
              value=${values[name]}
              onValue=${(value) => setValues((old) => ({ ...old, [name]: value }))}
            />
          `,
        )}
      <//>
    <//>
  `;
}
