// Tap as far as our adapter uses it: charges are made and asked for, the customer pays or declines on
// a page, and a signed callback tells. What it checks of requests is in the Rust tests' twin.
import { createHmac } from "node:crypto";
import { createServer } from "node:http";

const escaped = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

export class FakeTap {
  secret = "sk_test_browser";
  #charges = new Map();

  static async start() {
    const tap = new FakeTap();
    tap.server = createServer((request, response) => {
      let body = "";
      request.on("data", (chunk) => (body += chunk));
      request.on("end", () => tap.#answer(request, response, body));
    });
    await new Promise((resolve) => tap.server.listen(0, "127.0.0.1", resolve));
    tap.origin = `http://127.0.0.1:${tap.server.address().port}`;
    return tap;
  }

  stop() {
    this.server.closeAllConnections();
    return new Promise((resolve) => this.server.close(resolve));
  }

  async #answer(request, response, body) {
    const [, id, button] = /^\/page\/(\w+)(?:\/(\w+))?/.exec(request.url) ?? [];
    if (id) return this.#page(response, id, button);
    if (request.headers.authorization !== `Bearer ${this.secret}`) return send(response, 401, {});
    if (request.method === "POST" && request.url === "/v2/charges") {
      return send(response, 200, this.#create(JSON.parse(body)));
    }
    const charge = this.#charges.get(/^\/v2\/charges\/(\w+)$/.exec(request.url)?.[1]);
    return charge ? send(response, 200, shown(charge)) : send(response, 404, {});
  }

  #create({ amount, currency, reference, redirect, post }) {
    // The same order, asked for again, is the same charge.
    for (const known of this.#charges.values()) {
      if (known.reference === reference.order) return { ...shown(known), transaction: known.page };
    }
    const id = `chg_${this.#charges.size + 1}`;
    const charge = { id, amount, currency, reference: reference.order, status: "INITIATED" };
    charge.page = { ...shown(charge).transaction, url: `${this.origin}/page/${id}` };
    Object.assign(charge, { back: redirect.url, webhook: post.url });
    this.#charges.set(id, charge);
    return { ...shown(charge), transaction: charge.page };
  }

  /** The bank's page, and its buttons. */
  async #page(response, id, button) {
    const charge = this.#charges.get(id);
    if (!charge) return send(response, 404, {});
    if (!button) {
      response.writeHead(200, { "content-type": "text/html; charset=utf-8" });
      return response.end(
        `<!doctype html><html lang="en"><title>Bank</title><h1>${escaped(String(charge.amount))} KWD</h1>` +
          `<p><a href="/page/${id}/approve">Pay</a> <a href="/page/${id}/decline">Decline</a></p></html>`,
      );
    }
    charge.status = button === "approve" ? "CAPTURED" : "DECLINED";
    const told = shown(charge);
    // As Tap's documentation signs it.
    const text =
      `x_id${told.id}x_amount${charge.amount.toFixed(3)}x_currency${told.currency}` +
      `x_gateway_reference${told.reference.gateway ?? ""}x_payment_reference${told.reference.payment ?? ""}` +
      `x_status${told.status}x_created${told.transaction.created}`;
    const hashstring = createHmac("sha256", this.secret).update(text).digest("hex");
    await fetch(charge.webhook, {
      method: "POST",
      headers: { "content-type": "application/json", hashstring },
      body: JSON.stringify(told),
    });
    response.writeHead(302, { location: charge.back });
    response.end();
  }
}

function shown({ id, amount, currency, reference, status }) {
  const paid = status === "CAPTURED" ? { gateway: "123456789012345", payment: "0000000000000001" } : {};
  return {
    id,
    object: "charge",
    live_mode: false,
    api_version: "V2",
    amount,
    currency,
    status,
    reference: { track: "tck_1", transaction: reference, order: reference, ...paid },
    transaction: { url: null, created: "1760000000000", currency },
    response: { code: "000", message: status },
  };
}

function send(response, status, body) {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}
