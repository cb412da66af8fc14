-- Version 1 of the books. Read this first: the rest of the ledger only moves rows of these tables.
--
-- An account's balance is never computed from an estimate and never held in memory. At every commit
--     balance = sum(transfers in) - sum(transfers out) - sum(used of its open meters)
-- and a team's balance is at least zero. What may not happen is refused here, by the database, as
-- well as by the code: CHECKs for values, triggers for history that may only grow.
-- All times are Unix milliseconds, all amounts are whole credits.

-- One row for each start of the server. An open meter that belongs to an earlier boot was cut off.
CREATE TABLE boot(
  id INTEGER PRIMARY KEY CHECK(id>0),
  version TEXT NOT NULL, at_ms INTEGER NOT NULL) STRICT;

-- Teams, and the house's three accounts: `paid` and `granted` are where credits come from, `spent`
-- is where they go. The house's side may be negative, a team's may not.
CREATE TABLE account(
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL CHECK(kind IN('team','paid','granted','spent')),
  name TEXT NOT NULL UNIQUE, plan TEXT NOT NULL,
  created_ms INTEGER NOT NULL, closed_ms INTEGER,
  balance INTEGER NOT NULL DEFAULT 0,
  credited INTEGER NOT NULL DEFAULT 0,          -- credits ever bought or granted
  CHECK(kind<>'team' OR (balance>=0 AND credited>=balance)),
  CHECK(kind='team' OR (closed_ms IS NULL AND credited=0))) STRICT;
CREATE UNIQUE INDEX account_house ON account(kind) WHERE kind<>'team';
CREATE TRIGGER account_fixed BEFORE UPDATE OF id,kind,created_ms ON account
  BEGIN SELECT RAISE(ABORT,'fixed at creation'); END;
CREATE TRIGGER account_no_delete BEFORE DELETE ON account
  BEGIN SELECT RAISE(ABORT,'append-only'); END;
INSERT INTO account(id,kind,name,plan,created_ms) VALUES
  (1,'paid','house:paid','',0),(2,'granted','house:granted','',0),(3,'spent','house:spent','',0);

-- Secrets are shown once and stored as SHA-256. `period_used` counts against `limit_credits` and
-- starts again with each period; without `limit_reset` there is one period, from creation on.
CREATE TABLE api_key(
  id INTEGER PRIMARY KEY, account_id INTEGER NOT NULL REFERENCES account,
  label TEXT NOT NULL, prefix TEXT NOT NULL,
  secret_hash BLOB NOT NULL UNIQUE CHECK(length(secret_hash)=32),
  limit_credits INTEGER CHECK(limit_credits>=0),
  limit_reset TEXT CHECK(limit_reset IN('daily','weekly','monthly')),
  period_start_ms INTEGER NOT NULL,
  period_used INTEGER NOT NULL DEFAULT 0 CHECK(period_used>=0),
  used INTEGER NOT NULL DEFAULT 0 CHECK(used>=period_used),  -- ever, less reversals
  created_ms INTEGER NOT NULL, revoked_ms INTEGER,
  CHECK(limit_reset IS NULL OR limit_credits IS NOT NULL)) STRICT;
CREATE INDEX api_key_account ON api_key(account_id);
CREATE TRIGGER api_key_fixed BEFORE UPDATE OF id,account_id,prefix,secret_hash,created_ms ON api_key
  BEGIN SELECT RAISE(ABORT,'fixed at creation'); END;
CREATE TRIGGER api_key_no_delete BEFORE DELETE ON api_key
  BEGIN SELECT RAISE(ABORT,'append-only'); END;

-- The journal: immutable, gapless, each row bound to the one before by `prev_hash`.
CREATE TABLE transfer(
  seq INTEGER PRIMARY KEY CHECK(seq>0),
  id BLOB NOT NULL UNIQUE CHECK(length(id)=16),
  kind TEXT NOT NULL CHECK(kind IN('topup','voucher','grant','spend','reversal','refund')),
  from_id INTEGER NOT NULL REFERENCES account,
  to_id INTEGER NOT NULL REFERENCES account,
  amount INTEGER NOT NULL CHECK(amount>0),
  source BLOB NOT NULL CHECK(length(source)=16),  -- what it was for: a meter, a command
  reverses INTEGER UNIQUE REFERENCES transfer,
  actor TEXT NOT NULL, reason TEXT, at_ms INTEGER NOT NULL,
  prev_hash BLOB NOT NULL CHECK(length(prev_hash)=32),
  hash BLOB NOT NULL UNIQUE CHECK(length(hash)=32),
  CHECK(from_id<>to_id), CHECK((kind='reversal')=(reverses IS NOT NULL)),
  CHECK(kind NOT IN('grant','refund') OR reason IS NOT NULL)) STRICT;
CREATE UNIQUE INDEX transfer_once ON transfer(kind,source)
  WHERE kind IN('topup','voucher','grant','spend');
CREATE TRIGGER transfer_in_order BEFORE INSERT ON transfer
  WHEN new.seq<>(SELECT coalesce(max(seq),0)+1 FROM transfer)
    OR new.prev_hash<>coalesce((SELECT hash FROM transfer WHERE seq=new.seq-1),zeroblob(32))
  BEGIN SELECT RAISE(ABORT,'out of order'); END;
CREATE TRIGGER transfer_no_update BEFORE UPDATE ON transfer
  BEGIN SELECT RAISE(ABORT,'append-only'); END;
CREATE TRIGGER transfer_no_delete BEFORE DELETE ON transfer
  BEGIN SELECT RAISE(ABORT,'append-only'); END;

-- One row for each request that may be charged. `used` grows while it is open, then never moves.
-- `period_used` is the part of `used` that fell in its key's period beginning at `period_start_ms`.
CREATE TABLE meter(
  id BLOB PRIMARY KEY CHECK(length(id)=16),
  account_id INTEGER NOT NULL REFERENCES account,
  key_id INTEGER NOT NULL REFERENCES api_key,
  model TEXT NOT NULL, model_digest BLOB NOT NULL CHECK(length(model_digest)=32),
  credits_per_token INTEGER NOT NULL CHECK(credits_per_token>0),
  streamed INTEGER NOT NULL CHECK(streamed IN(0,1)),
  input_tokens INTEGER NOT NULL CHECK(input_tokens>=0),
  output_tokens INTEGER NOT NULL DEFAULT 0 CHECK(output_tokens>=0),
  used INTEGER NOT NULL DEFAULT 0 CHECK(used=output_tokens*credits_per_token),
  period_start_ms INTEGER NOT NULL,
  period_used INTEGER NOT NULL DEFAULT 0 CHECK(period_used BETWEEN 0 AND used),
  state TEXT NOT NULL CHECK(state IN('open','closed','reversed')),
  finish_reason TEXT, ids_sha256 BLOB CHECK(length(ids_sha256)=32),
  idempotency_key TEXT, body_hash BLOB NOT NULL CHECK(length(body_hash)=32),
  boot INTEGER NOT NULL REFERENCES boot,
  opened_ms INTEGER NOT NULL, closed_ms INTEGER,
  CHECK((state='open')=(closed_ms IS NULL)), CHECK((state='open')=(finish_reason IS NULL)),
  CHECK((state='open')=(ids_sha256 IS NULL))) STRICT;
CREATE UNIQUE INDEX meter_idempotency ON meter(key_id,idempotency_key)
  WHERE idempotency_key IS NOT NULL AND state<>'reversed';
CREATE INDEX meter_open ON meter(account_id) WHERE state='open';
CREATE INDEX meter_key ON meter(key_id,opened_ms);
CREATE TRIGGER meter_fixed BEFORE UPDATE OF id,account_id,key_id,model,model_digest,
  credits_per_token,streamed,input_tokens,idempotency_key,body_hash,boot,opened_ms ON meter
  BEGIN SELECT RAISE(ABORT,'fixed when opened'); END;
CREATE TRIGGER meter_grows BEFORE UPDATE OF used ON meter WHEN new.used<=old.used
  BEGIN SELECT RAISE(ABORT,'used only grows'); END;
CREATE TRIGGER meter_frozen BEFORE UPDATE ON meter WHEN old.state<>'open'
  AND NOT(old.state='closed' AND new.state='reversed' AND new.used=old.used
    AND new.output_tokens=old.output_tokens AND new.period_used=old.period_used
    AND new.period_start_ms=old.period_start_ms AND new.finish_reason=old.finish_reason
    AND new.ids_sha256=old.ids_sha256 AND new.closed_ms=old.closed_ms)
  BEGIN SELECT RAISE(ABORT,'meter is closed'); END;
CREATE TRIGGER meter_no_delete BEFORE DELETE ON meter
  BEGIN SELECT RAISE(ABORT,'append-only'); END;

-- The ids that were paid for, little-endian u32, one row for each charge, n = 0, 1, 2, ...
-- They go when the meter is reversed, or by age (`purge`); the meter's `ids_sha256` stays.
CREATE TABLE charge(
  meter_id BLOB NOT NULL REFERENCES meter, n INTEGER NOT NULL CHECK(n>=0),
  choice INTEGER NOT NULL DEFAULT 0 CHECK(choice>=0),
  token_ids BLOB NOT NULL CHECK(length(token_ids)>0 AND length(token_ids)%4=0),
  PRIMARY KEY(meter_id,n)) STRICT, WITHOUT ROWID;
CREATE TRIGGER charge_no_update BEFORE UPDATE ON charge
  BEGIN SELECT RAISE(ABORT,'append-only'); END;
CREATE TRIGGER charge_kept BEFORE DELETE ON charge
  WHEN (SELECT state FROM meter WHERE id=old.meter_id)='open'
  BEGIN SELECT RAISE(ABORT,'meter is open'); END;

-- Ids of meters that closed before `before_ms` may be gone.
CREATE TABLE purge(before_ms INTEGER NOT NULL, at_ms INTEGER NOT NULL) STRICT;

-- What operators did.
CREATE TABLE audit(
  id INTEGER PRIMARY KEY, actor TEXT NOT NULL, action TEXT NOT NULL, detail TEXT NOT NULL,
  at_ms INTEGER NOT NULL) STRICT;
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
  BEGIN SELECT RAISE(ABORT,'append-only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
  BEGIN SELECT RAISE(ABORT,'append-only'); END;
