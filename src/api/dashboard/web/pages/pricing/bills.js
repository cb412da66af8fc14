// One bill by tokens, and one by credits, of the same requests.
import { html, useId } from "../../lib/ui.js";
import { Table } from "../../lib/parts.js";
import { credits, money, number } from "../../lib/format.js";
import { t } from "../../lib/words.js";
import { KWD_DIGITS, USD_DIGITS, decimalText, filsText, packsFor, share, tokenBill } from "./costs.js";
import { smallestPack } from "../billing/prices.js";

const usd = (value) => t("pricing.usd", { amount: decimalText(value, USD_DIGITS, { least: 2, most: 9 }) });
const rate = (value) => t("pricing.usd", { amount: decimalText(value, 6, { least: 2, most: 6 }) });

/** With more decimals than money has: what a single request costs may be less than a fil. */
const smallKwd = (value) => money(decimalText(value, KWD_DIGITS, { least: 3, most: 9 }));
const roundedKwd = (value) => money(decimalText(value, KWD_DIGITS, { least: 3, most: 3 }));

export function TokenBill({ values }) {
  const { input, output, inputRate, outputRate, exchange, requests } = values;
  const bill = tokenBill(values);
  const per = (tokens, price) => t("pricing.tokens_at", { n: number(tokens), rate: rate(price) });
  return html`
    <${Bill} title=${t("pricing.by_tokens")}>
      <${Line} name="input_line" note=${per(input, inputRate)} value=${usd(bill.forInput)} />
      <${Line} name="output_line" note=${per(output, outputRate)} value=${usd(bill.forOutput)} />
      <${Line} name="one" value=${usd(bill.usd)} strong />
      <${Line}
        name="in_kwd"
        note=${t("pricing.at", { rate: decimalText(exchange, 6, { least: 3, most: 6 }) })}
        value=${smallKwd(bill.kwd)}
      />
      <${Line}
        name="month"
        note=${t("pricing.times", { count: Number(requests), n: number(requests) })}
        value=${roundedKwd(bill.kwd * requests)}
        strong
      />
      <p class="hint">${t("pricing.tokens_rounding")}</p>
    <//>
  `;
}

export function CreditBill({ values, cost, packs }) {
  const { input, output, requests } = values;
  const one = output * BigInt(cost);
  const month = one * requests;
  return html`
    <${Bill} title=${t("pricing.by_credits")}>
      <${Line}
        name="input_line"
        note=${tokens(input)}
        value=${t("pricing.is_free")}
      />
      <${Line}
        name="output_line"
        note=${t("pricing.tokens_times", { tokens: tokens(output), cost: number(cost) })}
        value=${words(one)}
      />
      <${Line}
        name="one"
        note=${packs.length > 0 && left(one, smallestPack(packs))}
        value=${words(one)}
        strong
      />
      <${Line}
        name="month"
        note=${t("pricing.times", { count: Number(requests), n: number(requests) })}
        value=${words(month)}
        strong
      />
      ${packs.length > 0 &&
      html`
        <${ByPack} one=${one} month=${month} packs=${packs} />
        <p class="hint">${t("pricing.credits_rounding")}</p>
      `}
    <//>
  `;
}

/** `credits` takes numbers; plural forms do not change beyond what they can hold. */
const words = (count) => t("common.credits", { count: Number(count), n: number(count) });

const tokens = (count) => t("pricing.tokens", { count: Number(count), n: number(count) });

const left = (one, pack) =>
  one <= BigInt(pack.credits)
    ? t("pricing.leaves", { left: number(BigInt(pack.credits) - one), pack: number(pack.credits) })
    : t("pricing.more_than", { pack: number(pack.credits) });

const ByPack = ({ one, month, packs }) => html`
  <${Table}
    caption=${t("pricing.by_pack")}
    rows=${packs}
    columns=${[
      { title: t("pricing.with_pack"), cell: (pack) => credits(pack.credits) },
      { title: t("pricing.one"), number: true, cell: (pack) => money(filsText(share(one, pack))) },
      { title: t("pricing.month"), number: true, cell: (pack) => money(filsText(share(month, pack))) },
      {
        title: t("pricing.to_buy"),
        number: true,
        cell: (pack) => html`<${ToBuy} month=${month} pack=${pack} />`,
      },
    ]}
  />
`;

function ToBuy({ month, pack }) {
  const { count, fils } = packsFor(month, pack);
  const packs = t("pricing.packs_count", { count: Number(count), n: number(count) });
  return html`${money(filsText(fils))}<br /><small>${packs}</small>`;
}

function Bill({ title, children }) {
  const id = useId();
  return html`
    <section class="bill" aria-labelledby=${id}>
      <h3 id=${id}>${title}</h3>
      ${children}
    </section>
  `;
}

const Line = ({ name, note, value, strong }) => html`
  <div class=${strong ? "bill-line is-strong" : "bill-line"}>
    <span>${t(`pricing.${name}`)}${note && html`<small>${note}</small>`}</span>
    <b>${value}</b>
  </div>
`;
