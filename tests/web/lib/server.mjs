// A server of ours as a child process, on a data folder of its own, with a payment provider that we
// also run. It is operated by its own commands, as an operator would.
import { execFile, spawn } from "node:child_process";
import { mkdtemp, readFile, rm, symlink, writeFile, mkdir } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { FakeTap } from "./fake_tap.mjs";

const { MIZAN_BIN, MIZAN_CATALOG, MIZAN_TEST_MODELS } = process.env;
const SECRET = /mz-[0-9A-Za-z]{20,}/;
const START_TIMEOUT_MS = 600_000; // The first start may have to fetch the model.

export const MODEL = "smollm2-135m-instruct";
export const OPERATORS_KEY = "the operator's key of the browser tests";
export const PASSWORD = "correct horse battery staple";

/** Customers come back to an address that is configured, so it has to be known before the start. */
async function freePort() {
  const listener = createServer();
  await new Promise((resolve) => listener.listen(0, "127.0.0.1", resolve));
  const { port } = listener.address();
  await new Promise((resolve) => listener.close(resolve));
  return port;
}

export class Server {
  static async start({ models = [MODEL] } = {}) {
    const server = new Server();
    server.tap = await FakeTap.start();
    server.data = await mkdtemp(join(tmpdir(), "mizan-web-"));
    await mkdir(MIZAN_TEST_MODELS, { recursive: true });
    await symlink(MIZAN_TEST_MODELS, join(server.data, "models"));
    const port = await freePort();
    server.origin = `http://127.0.0.1:${port}`;
    const config = join(server.data, "models.toml");
    const catalog = await readFile(MIZAN_CATALOG, "utf8");
    const tap = `[payments.tap]\nbase_url = "${server.tap.origin}"\n`;
    await writeFile(config, `${catalog}\n${tap}`);
    // The settings of whoever runs the tests are none of theirs.
    const own = Object.entries(process.env).filter(([name]) => !name.startsWith("MIZAN_"));
    server.environment = {
      ...Object.fromEntries(own),
      MIZAN_DATA: server.data,
      MIZAN_CONFIG: config,
      MIZAN_ADMIN_KEY: OPERATORS_KEY,
      MIZAN_TAP_SECRET_KEY: server.tap.secret,
    };
    const flags = ["serve", "--port", port, "--public-url", server.origin];
    await server.#spawn([...flags, ...models.flatMap((model) => ["--model", model])]);
    return server;
  }

  async #spawn(flags) {
    this.printed = "";
    this.process = spawn(MIZAN_BIN, flags.map(String), { env: this.environment, cwd: this.data });
    await new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`no start:\n${this.printed}`)), START_TIMEOUT_MS);
      const read = (chunk) => {
        this.printed += chunk;
        if (/^Serving /m.test(this.printed)) resolve(clearTimeout(late));
      };
      this.process.stdout.on("data", read);
      this.process.stderr.on("data", read);
      this.process.on("exit", (code) => reject(new Error(`ended with ${code}:\n${this.printed}`)));
    });
  }

  /** Ends it as an operator would, and proves the books: whatever the pages did, they are right. */
  async stop() {
    this.process.removeAllListeners("exit");
    const ended = new Promise((resolve) => this.process.on("exit", resolve));
    this.process.kill("SIGTERM");
    const code = await ended;
    const proof = await this.operate("ledger", "verify");
    await this.tap.stop();
    await rm(this.data, { recursive: true });
    if (code !== 0) throw new Error(`it ended with ${code}:\n${this.printed}`);
    return proof;
  }

  /** A command on the same data folder; what it printed. */
  async operate(...words) {
    const options = { env: this.environment, cwd: this.data };
    return (await promisify(execFile)(MIZAN_BIN, words.map(String), options)).stdout;
  }

  /** An account with credits; its key. */
  async newAccount(name, credits) {
    await this.operate("account", "create", name);
    if (credits > 0) await this.operate("grant", name, credits, "--reason", "browser tests");
    const scopes = "inference,usage,billing,keys,users";
    return SECRET.exec(await this.operate("key", "create", name, "--scopes", scopes))[0];
  }

  /** A call of the API, with a key. `signal` ends it early. */
  async call(key, path, { method = "GET", body, signal } = {}) {
    const response = await fetch(this.origin + path, {
      method,
      signal,
      headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
      body: body && JSON.stringify(body),
    });
    const answer = await response.json();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${JSON.stringify(answer)}`);
    return answer;
  }

  /** The one-time secret of a new user's invitation. */
  async invite(account, name, role) {
    const body = { name, role, ...(account && { account }) };
    const user = await this.call(OPERATORS_KEY, "/api/v1/admin/users", { method: "POST", body });
    return user.invitation;
  }

  /** A user with the password of these tests. */
  async newUser(account, name, role = "owner") {
    const invitation = await this.invite(account, name, role);
    const body = { invitation, password: PASSWORD };
    await this.call("", "/api/v1/invitations/accept", { method: "POST", body });
  }
}
