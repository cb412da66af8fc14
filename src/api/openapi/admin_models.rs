//! The models in memory and the books as a whole, as the operator sees them.

use super::super::admin::{MODEL_STATES, VERIFY_STATES};
use super::operation::{Group, Operation, get, post};
use super::schema::{
    Schema, boolean, data_of, integer, list, named, object, object_name, request, required,
    seconds, text, word,
};

pub(super) fn group() -> Group {
    Group {
        tag: "Admin: machine",
        about: "What is in memory, how it runs, and whether the books are right.",
        operations: vec![
            get("/api/v1/admin/models", "listLoadedModels", "Show how the models stand")
                .about("Counters are totals since the load: two readings give a rate.")
                .answers("The models.", models()),
            of_model(post("/api/v1/admin/models/load", "loadModel", "Load a model"))
                .about("Waits until it is in memory. One that is there is left as it is.")
                .answers("The model.", named("LoadedModel"))
                .fails(&[404, 503]),
            of_model(post("/api/v1/admin/models/unload", "unloadModel", "Unload a model"))
                .about(
                    "Waits until its memory is free. Refused while answers run on it; it is loaded \
                     again when somebody asks for it.",
                )
                .answers("The model.", named("LoadedModel"))
                .fails(&[404, 409]),
            get("/api/v1/admin/ledger", "getLedger", "Show how the books are")
                .answers("The books in figures.", data_of(ledger())),
            post("/api/v1/admin/ledger/verify", "verifyLedger", "Check the books now")
                .about("Begins a check, or finds one that runs; the ledger's page has its outcome.")
                .answers_as(
                    202,
                    "A check runs.",
                    "application/json",
                    data_of(object(
                        "The books.",
                        [required("verify", named("LedgerCheck").about("The check."))],
                    )),
                ),
        ],
        schemas: vec![
            ("LoadedModel", model()),
            ("EngineFigures", engine()),
            ("LedgerCheck", check()),
        ],
    }
}

fn of_model(operation: Operation) -> Operation {
    let model = text("The model's id, or an alias.");
    operation.body(request("Which one.", [required("model", model)]))
}

fn count(about: &str) -> Schema {
    integer(about).at_least(0)
}

fn models() -> Schema {
    object(
        "All models that are offered.",
        [
            object_name("list"),
            required("data", list("The default first.", named("LoadedModel"))),
            required("memory_used", count("Bytes that models take.")),
            required("memory_budget", count("Bytes for all models.")),
            required("queue", count("Requests that wait for a model to be loaded.")),
            required("now_ms", integer("The time of the reading. Unix milliseconds.")),
        ],
    )
}

fn model() -> Schema {
    object(
        "A model, for the operator.",
        [
            required("id", text("Its id.")),
            object_name("model"),
            required("aliases", list("Other names that it answers to.", text("A name."))),
            required("tier", text("Its tier, which sets the price.")),
            required("credit_multiplier", count("Credits for each output token.")),
            required(
                "context_length",
                count("Tokens of prompt and answer together, if known.").or_null(),
            ),
            required(
                "state",
                word(
                    "Where it is; `missing`: its file is not here, or was refused.",
                    &MODEL_STATES,
                ),
            ),
            required("default", boolean("Whether it is the server's default.")),
            required("memory", count("Bytes that it takes.").or_null()),
            required("loaded_at", seconds("When it was loaded.").or_null()),
            required("waiting", count("Requests that wait for it to be loaded.")),
            required("error", text("Why it could not be loaded the last time.").or_null()),
            required("engine", named("EngineFigures").about("How it runs.").or_null()),
        ],
    )
}

fn engine() -> Schema {
    let total = |name: &'static str, about: &str| required(name, count(about));
    object(
        "How a model runs: its state now, and totals since it was loaded.",
        [
            total("running", "Answers in the batch."),
            total("waiting", "Answers that wait for a place in it."),
            total("paused", "Answers whose reader is behind."),
            total("max_batch", "Places in the batch."),
            total("max_waiting", "Places to wait."),
            total("block_tokens", "Tokens of a block of the KV cache."),
            total("kv_blocks", "Blocks in all."),
            total("kv_blocks_owned", "Blocks that answers hold."),
            total("kv_blocks_cached", "Blocks kept for prompts that begin alike."),
            total("prompt_tokens", "Input tokens of the answers that were begun."),
            total("cached_tokens", "Of them, those that the prefix cache had."),
            total("generated_tokens", "Tokens that were sampled."),
            total("drafted_tokens", "Tokens that were computed ahead."),
            total("accepted_tokens", "Of them, those that were then sampled."),
            total("steps", "Batches that were run."),
            total("preemptions", "Times that an answer gave its blocks up for another."),
            total("failed_steps", "Batches on which the model failed."),
        ],
    )
}

fn ledger() -> Schema {
    let micros = |about: &str| count(&format!("{about} Microseconds.")).or_null();
    let chain = object(
        "Where the journal ends.",
        [
            required("seq", count("The last transfer's number; 0: there is none.")),
            required("hash", text("Its hash, which binds all before it, in hexadecimal digits.")),
        ],
    );
    object(
        "The books in figures.",
        [
            required("healthy", boolean("Whether commands are taken.")),
            required("schema_version", count("The version of the books' tables.")),
            required("verify", named("LedgerCheck").about("The last check of all books.")),
            required("chain", chain),
            required("commits", count("Transactions since the start.")),
            required("commands", count("Commands in them, refused ones included.")),
            required("commit_p50_us", micros("Within it half of the commits were done.")),
            required("commit_p99_us", micros("Within it 99 of 100 were.")),
            required("queue", count("Commands that wait for the writer.")),
            required("open_meters", count("Requests that are being charged.")),
            required("accounts", count("Accounts that are not closed.")),
            required("file_bytes", count("Length of the books' file.")),
            required("wal_bytes", count("Length of its write-ahead log.")),
            required("now_ms", integer("The time of the reading. Unix milliseconds.")),
        ],
    )
}

fn check() -> Schema {
    object(
        "A check of the whole books. But for the state, it tells of the last that came to its end.",
        [
            required("state", word("How it went, or that one runs.", &VERIFY_STATES)),
            required("at", seconds("When it ended.").or_null()),
            required("transfers", count("Transfers that were read.").or_null()),
            required("duration_ms", count("How long it took, in milliseconds.").or_null()),
            required("damages", count("Contradictions that were found.").or_null()),
            required(
                "problem",
                text("The first of them, or why none could be looked for.").or_null(),
            ),
        ],
    )
}
