// What the machine does now: the models in memory, how fast they answer, who waits.
import { html, useState } from "../../lib/ui.js";
import { api } from "../../lib/api.js";
import { useAction, useLoad } from "../../lib/load.js";
import { Badge, Button, Card, Figure, Loaded, Page, Problem, Table, say } from "../../lib/parts.js";
import { Spark } from "../../lib/spark.js";
import { useRates } from "../../lib/rates.js";
import { ago, bytes, decimal, number, percent } from "../../lib/format.js";
import { t } from "../../lib/words.js";
import "../../words/operator.js";

const EVERY = 1_000;
const KINDS = { loaded: "good", loading: "gold" };

function generated({ data }) {
  const loaded = data.filter(({ engine }) => engine);
  return Object.fromEntries(loaded.map(({ id, engine }) => [id, engine.generated_tokens]));
}

const sum = (models, field) => models.reduce((total, { engine }) => total + (engine?.[field] ?? 0), 0);

export default function Models() {
  const from = useLoad((signal) => api("/api/v1/admin/models", { signal }), [], { every: EVERY });
  const rates = useRates(from.data, generated);
  return html`
    <${Page} wide title=${t("pages.models")}>
      <${Loaded} from=${from}>
        ${(reading) => html`
          <div class="stack">
            <${Engine} models=${reading.data} queue=${reading.queue} rates=${rates} />
            <${Memory} reading=${reading} />
            <${List}
              models=${reading.data.filter(({ state }) => state !== "missing")}
              rate=${rates.at(-1) ?? {}}
              reload=${from.reload}
            />
            <${Missing} models=${reading.data.filter(({ state }) => state === "missing")} />
          </div>
        `}
      <//>
    <//>
  `;
}

const all = (rate) => Object.values(rate).reduce((a, b) => a + b, 0);

/** All engines together; `queue`: requests that wait for their model. */
function Engine({ models, queue, rates }) {
  const part = (some, whole) => (whole > 0 ? percent(some / whole, 1) : "–");
  const total = (field) => sum(models, field);
  const speeds = rates.map(all);
  return html`
    <${Card} title=${t("operator.engine")}>
      <dl class="figures">
        <div class="figure speed">
          <dt>${t("operator.speed")}</dt>
          <dd data-rate=${speeds.at(-1)}>${speeds.length > 0 ? decimal(speeds.at(-1)) : "–"}</dd>
          <dd class="note"><${Spark} label=${t("operator.speed_line")} values=${speeds} /></dd>
        </div>
        <${Figure} label=${t("operator.running")} value=${number(total("running"))} />
        <${Figure}
          label=${t("operator.waiting")}
          value=${number(total("waiting") + queue)}
          note=${t("operator.waiting_note", { n: number(total("max_waiting")) })}
        />
        <${Figure}
          label=${t("operator.kv")}
          value=${part(total("kv_blocks_owned"), total("kv_blocks"))}
          note=${t("operator.kv_note", { n: number(total("kv_blocks")) })}
        />
        <${Figure}
          label=${t("operator.prefix")}
          value=${part(total("cached_tokens"), total("prompt_tokens"))}
          note=${t("operator.prefix_note", { n: number(total("prompt_tokens")) })}
        />
        <${Figure}
          label=${t("operator.drafts")}
          value=${part(total("accepted_tokens"), total("drafted_tokens"))}
          note=${t("operator.drafts_note", { n: number(total("drafted_tokens")) })}
        />
      </dl>
    <//>
  `;
}

function Memory({ reading: { memory_used: used, memory_budget: budget, data } }) {
  const loaded = data.filter(({ memory }) => memory);
  return html`
    <${Card} title=${t("operator.memory")}>
      <p>${t("operator.memory_used", { used: bytes(used), budget: bytes(budget) })}</p>
      <div class="bar" aria-hidden="true">
        ${loaded.map(
          ({ memory }, n) =>
            html`<span
              style=${{ width: `${(100 * memory) / budget}%`, background: `var(--chart-${(n % 6) + 1})` }}
            ></span>`,
        )}
      </div>
      <ul class="legend">
        ${loaded.map(
          ({ id, memory }, n) =>
            html`<li>
              <i style=${{ background: `var(--chart-${(n % 6) + 1})` }}></i>
              <bdi>${id}</bdi> ${bytes(memory)}
            </li>`,
        )}
      </ul>
    <//>
  `;
}

function List({ models, rate, reload }) {
  // The model that is being loaded or unloaded; the others wait for it.
  const [asked, setAsked] = useState(null);
  const change = useAction(async (model, what) => {
    setAsked(model);
    await api(`/api/v1/admin/models/${what}`, { method: "POST", body: { model } });
    say(t(`operator.${what}ed`, { model }));
    await reload();
  });
  return html`
    <${Card} title=${t("operator.models")}>
      <${Problem} error=${change.error} />
      <${Table}
        caption=${t("operator.models")}
        rows=${models}
        columns=${[
          { title: t("operator.model"), cell: (model) => html`<${Name} model=${model} />` },
          {
            title: t("operator.state"),
            cell: ({ state }) => html`<${Badge} kind=${KINDS[state]}>${t(`operator.state_${state}`)}<//>`,
          },
          {
            title: t("operator.context"),
            number: true,
            hideOnPhone: true,
            cell: (model) => (model.context_length ? number(model.context_length) : "–"),
          },
          {
            title: t("operator.memory"),
            number: true,
            hideOnPhone: true,
            cell: ({ memory }) => bytes(memory),
          },
          {
            title: t("operator.rate"),
            number: true,
            hideOnPhone: true,
            cell: ({ id, engine }) => (engine && id in rate ? decimal(rate[id]) : "–"),
          },
          {
            title: t("operator.running"),
            number: true,
            hideOnPhone: true,
            cell: ({ engine }) => (engine ? `${number(engine.running)} / ${number(engine.max_batch)}` : "–"),
          },
          {
            title: t("operator.waiting"),
            number: true,
            hideOnPhone: true,
            cell: ({ engine, waiting }) => number(waiting + (engine?.waiting ?? 0)),
          },
          { title: "", cell: (model) => html`<${Switch} model=${model} change=${change} asked=${asked} />` },
        ]}
      />
    <//>
  `;
}

const Name = ({ model }) => html`
  <b class="long-name"><bdi>${model.id}</bdi></b>
  ${model.default && html` <${Badge}>${t("operator.default")}<//>`}
  <br />
  <small>
    <bdi dir="ltr">${model.tier} × ${number(model.credit_multiplier)}</bdi>
    ${model.loaded_at && html` · ${t("operator.loaded_at", { when: ago(model.loaded_at) })}`}
  </small>
  ${model.error && html`<br /><small class="field-error">${model.error}</small>`}
`;

/** Those on offer whose files are not here: what would bring them. */
function Missing({ models }) {
  if (models.length === 0) return null;
  return html`
    <${Card} title=${t("operator.missing")}>
      <p class="ask-lead">${t("operator.fetch")} <code dir="ltr">mizan pull ID</code></p>
      <ul class="missing">
        ${models.map(({ id, tier }) => html`<li><bdi>${id}</bdi> <${Badge}>${tier}<//></li>`)}
      </ul>
    <//>
  `;
}

/** What can be done with a model in its state. */
function Switch({ model, change, asked }) {
  const what = { loaded: "unload", available: "load" }[model.state];
  if (!what) return null;
  return html`
    <${Button}
      busy=${change.busy && asked === model.id}
      disabled=${change.busy}
      onClick=${() => change.run(model.id, what)}
    >
      ${t(`operator.${what}`)} <span class="for-readers">${model.id}</span>
    <//>
  `;
}
