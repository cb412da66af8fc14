// How the books stand: when they were proven last, where the chain ends, how fast they are written.
import { html } from "../../lib/ui.js";
import { api } from "../../lib/api.js";
import { useAction, useLoad } from "../../lib/load.js";
import { Badge, Button, Card, Code, Figure, Loaded, Page, Problem } from "../../lib/parts.js";
import { Spark } from "../../lib/spark.js";
import { useRates } from "../../lib/rates.js";
import { ago, bytes, dateTime, decimal, duration, number } from "../../lib/format.js";
import { t } from "../../lib/words.js";
import "../../words/operator.js";

const EVERY = 1_000;
const KINDS = { ok: "good", failed: "bad", running: "gold", never: "" };

const COMMANDS = `mizan ledger verify
mizan ledger backup /backups/ledger.db
mizan ledger export --format csv`;

const written = ({ data }) => ({ commits: data.commits, commands: data.commands });

export default function LedgerHealth() {
  const from = useLoad((signal) => api("/api/v1/admin/ledger", { signal }), [], { every: EVERY });
  const reading = from.data && { ...from.data, now_ms: from.data.data.now_ms };
  const rates = useRates(from.data && reading, written);
  const check = useAction(async () => {
    await api("/api/v1/admin/ledger/verify", { method: "POST", body: {} });
    await from.reload();
  });
  return html`
    <${Page}
      title=${t("pages.ledger")}
      lead=${t("operator.ledger_lead")}
      actions=${html`
        <${Button} kind="primary" icon="shield" busy=${check.busy} onClick=${check.run}>
          ${t("operator.check_now")}
        <//>
      `}
    >
      <${Problem} error=${check.error} />
      <${Loaded} from=${from}>
        ${({ data }) => html`
          <div class="stack">
            <${Proof} data=${data} />
            <${Writing} data=${data} rates=${rates} />
            <${ByHand} />
          </div>
        `}
      <//>
    <//>
  `;
}

function Proof({ data: { verify, chain, healthy } }) {
  return html`
    <${Card}
      title=${t("operator.proof")}
      actions=${html`<span role="status">
        <${Badge} kind=${KINDS[verify.state]}>${t(`operator.verify_${verify.state}`)}<//>
      </span>`}
    >
      ${(!healthy || verify.problem) &&
      html`<div class="problem" role="alert"><p>${verify.problem ?? t("operator.unhealthy")}</p></div>`}
      <dl class="figures">
        <${Figure}
          label=${t("operator.verified")}
          value=${verify.at ? ago(verify.at) : "–"}
          note=${verify.at && dateTime(verify.at)}
        />
        <${Figure}
          label=${t("operator.transfers")}
          value=${verify.transfers === null ? "–" : number(verify.transfers)}
          note=${verify.at && t("operator.checked_in", { n: duration(verify.duration_ms) })}
        />
        <${Figure} label=${t("operator.chain")} value=${number(chain.seq)} note=${t("operator.chain_note")} />
      </dl>
      <h3 class="sub-head">${t("operator.head_hash")}</h3>
      <${Code} text=${chain.hash} />
    <//>
  `;
}

function Writing({ data, rates }) {
  const latest = rates.at(-1);
  const micros = (n) => (n === null ? "–" : t("common.ms", { n: decimal(n / 1_000, 2) }));
  return html`
    <${Card} title=${t("operator.writing")}>
      <dl class="figures">
        <div class="figure speed">
          <dt>${t("operator.commits")}</dt>
          <dd>${latest ? decimal(latest.commits) : "–"}</dd>
          <dd class="note">
            <${Spark} label=${t("operator.commits_line")} values=${rates.map(({ commits }) => commits)} />
          </dd>
        </div>
        <${Figure}
          label=${t("operator.commands")}
          value=${latest ? decimal(latest.commands) : "–"}
          note=${t("operator.commands_note", { n: number(data.commands) })}
        />
        <${Figure}
          label=${t("operator.commit_time")}
          value=${micros(data.commit_p50_us)}
          note=${t("operator.p99", { n: micros(data.commit_p99_us) })}
        />
        <${Figure} label=${t("operator.open_meters")} value=${number(data.open_meters)} />
        <${Figure} label=${t("operator.accounts")} value=${number(data.accounts)} />
        <${Figure}
          label=${t("operator.size")}
          value=${bytes(data.file_bytes)}
          note=${t("operator.wal", { n: bytes(data.wal_bytes) })}
        />
      </dl>
    <//>
  `;
}

const ByHand = () => html`
  <${Card} title=${t("operator.by_hand")}>
    <p>${t("operator.by_hand_lead")}</p>
    <${Code} text=${COMMANDS} />
  <//>
`;
