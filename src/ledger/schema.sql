-- Version 3 of the books. Read this first: the rest of the ledger only moves rows of these tables.
-- `migrations/` brings older books here, and a test that they become exactly this.
--
-- An account's balance is never computed from an estimate, and what is remembered of it is believed
-- only once a statement has found it so. At every commit
--     balance = sum(transfers in) - sum(transfers out) - sum(used of its open meters)
-- and a team's balance is at least zero. What may not happen is refused here, by the database, as
-- well as by the code: CHECKs for values, triggers for history that may only grow.
-- All times are Unix milliseconds. Amounts are whole credits; on `revenue` and `cash`, whole fils.

-- One row for each start of the server. An open meter that belongs to an earlier boot was cut off.
CREATE TABLE boot(
  id INTEGER PRIMARY KEY CHECK(id>0),
  version TEXT NOT NULL, at_ms INTEGER NOT NULL) STRICT;

-- Teams, and the house's side, which may be negative. In credits: `paid` and `granted` are where
-- credits come from, `spent` is where they go. In fils: `revenue` is where money comes from, and
-- there is one `cash` for each provider, named `house:cash:PROVIDER`, where it lies.
CREATE TABLE account(
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL CHECK(kind IN('team','paid','granted','spent','revenue','cash')),
  name TEXT NOT NULL UNIQUE, plan TEXT NOT NULL,
  created_ms INTEGER NOT NULL, closed_ms INTEGER,
  frozen_ms INTEGER,                            -- opens no meters until it is thawed
  balance INTEGER NOT NULL DEFAULT 0,
  credited INTEGER NOT NULL DEFAULT 0,          -- bought or granted, less what was taken back
  notice_below INTEGER CHECK(notice_below>0),   -- tell the team when its balance falls below
  notice_url TEXT,                              -- and whom
  noticed_ms INTEGER,                           -- told; cleared when the balance is above again
  CHECK(kind<>'team' OR (balance>=0 AND credited>=balance)),
  CHECK(kind='team' OR (closed_ms IS NULL AND frozen_ms IS NULL AND credited=0
    AND notice_below IS NULL)),
  CHECK(notice_below IS NOT NULL OR (notice_url IS NULL AND noticed_ms IS NULL))) STRICT;
CREATE UNIQUE INDEX account_house ON account(kind) WHERE kind NOT IN('team','cash');
CREATE TRIGGER account_fixed BEFORE UPDATE OF id,kind,created_ms ON account
  BEGIN SELECT RAISE(ABORT,'fixed at creation'); END;
CREATE TRIGGER account_no_delete BEFORE DELETE ON account
  BEGIN SELECT RAISE(ABORT,'append-only'); END;
INSERT INTO account(id,kind,name,plan,created_ms) VALUES
  (1,'paid','house:paid','',0),(2,'granted','house:granted','',0),
  (3,'spent','house:spent','',0),(4,'revenue','house:revenue','',0);

-- People who sign in: an owner or a member of one team, or an operator of the place.
CREATE TABLE user(
  id INTEGER PRIMARY KEY, account_id INTEGER REFERENCES account,
  name TEXT NOT NULL UNIQUE,
  role TEXT NOT NULL CHECK(role IN('owner','member','operator')),
  password_hash TEXT,                           -- argon2id, as a PHC string; none until invited
  created_ms INTEGER NOT NULL, disabled_ms INTEGER,
  CHECK((role='operator')=(account_id IS NULL))) STRICT;
CREATE INDEX user_account ON user(account_id);
CREATE TRIGGER user_fixed BEFORE UPDATE OF id,account_id,name,created_ms ON user
  BEGIN SELECT RAISE(ABORT,'fixed at creation'); END;
CREATE TRIGGER user_no_delete BEFORE DELETE ON user
  BEGIN SELECT RAISE(ABORT,'append-only'); END;

-- A secret link with which a user sets a password, once. Stored as SHA-256.
CREATE TABLE invitation(
  secret_hash BLOB PRIMARY KEY CHECK(length(secret_hash)=32),
  user_id INTEGER NOT NULL REFERENCES user,
  created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, accepted_ms INTEGER)
  STRICT, WITHOUT ROWID;

-- A user who is signed in. Stored as SHA-256; rows go when they have expired.
CREATE TABLE session(
  secret_hash BLOB PRIMARY KEY CHECK(length(secret_hash)=32),
  user_id INTEGER NOT NULL REFERENCES user,
  created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX session_expiry ON session(expires_ms);

-- Secrets are shown once and stored as SHA-256. `period_used` counts against `limit_credits` and
-- starts again with each period; without `limit_reset` there is one period, from creation on.
-- `total_limit_credits` counts against `used`, whatever the period.
CREATE TABLE api_key(
  id INTEGER PRIMARY KEY, account_id INTEGER NOT NULL REFERENCES account,
  user_id INTEGER REFERENCES user,              -- who made it; none: the operator
  label TEXT NOT NULL, prefix TEXT NOT NULL,
  secret_hash BLOB NOT NULL UNIQUE CHECK(length(secret_hash)=32),
  scopes TEXT NOT NULL CHECK(scopes<>''),       -- what it may do: words joined by commas
  limit_credits INTEGER CHECK(limit_credits>=0),
  limit_reset TEXT CHECK(limit_reset IN('daily','weekly','monthly')),
  total_limit_credits INTEGER CHECK(total_limit_credits>=0),
  period_start_ms INTEGER NOT NULL,
  period_used INTEGER NOT NULL DEFAULT 0 CHECK(period_used>=0),
  used INTEGER NOT NULL DEFAULT 0 CHECK(used>=period_used),  -- ever, less reversals
  created_ms INTEGER NOT NULL, expires_ms INTEGER, revoked_ms INTEGER,
  CHECK(limit_reset IS NULL OR limit_credits IS NOT NULL)) STRICT;
CREATE INDEX api_key_account ON api_key(account_id);
CREATE TRIGGER api_key_fixed
  BEFORE UPDATE OF id,account_id,user_id,prefix,secret_hash,created_ms ON api_key
  BEGIN SELECT RAISE(ABORT,'fixed at creation'); END;
CREATE TRIGGER api_key_no_delete BEFORE DELETE ON api_key
  BEGIN SELECT RAISE(ABORT,'append-only'); END;

-- The journal: immutable, gapless, each row bound to the one before by `prev_hash`. Of these kinds
-- `payment` and `payout` move fils, all others credits. `id` and `hash` have no index: they are
-- spread at random, and keeping them in order would cost more with every row.
CREATE TABLE transfer(
  seq INTEGER PRIMARY KEY CHECK(seq>0),
  id BLOB NOT NULL CHECK(length(id)=16),
  kind TEXT NOT NULL CHECK(kind IN('topup','payment','voucher','grant','correction','spend',
    'reversal','refund','payout')),
  from_id INTEGER NOT NULL REFERENCES account,
  to_id INTEGER NOT NULL REFERENCES account,
  amount INTEGER NOT NULL CHECK(amount>0),
  source BLOB NOT NULL CHECK(length(source)=16),  -- a meter, top-up, refund, voucher, command
  reverses INTEGER UNIQUE REFERENCES transfer,
  actor TEXT NOT NULL, reason TEXT, at_ms INTEGER NOT NULL,
  prev_hash BLOB NOT NULL CHECK(length(prev_hash)=32),
  hash BLOB NOT NULL CHECK(length(hash)=32),
  CHECK(from_id<>to_id), CHECK((kind='reversal')=(reverses IS NOT NULL)),
  CHECK(kind NOT IN('grant','correction','refund') OR reason IS NOT NULL)) STRICT;
CREATE UNIQUE INDEX transfer_once ON transfer(kind,source);
CREATE INDEX transfer_from ON transfer(from_id);
CREATE INDEX transfer_to ON transfer(to_id) WHERE kind<>'spend';
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
-- With `used` grow the ids that it pays for, here in `last_ids`: then a charge changes this row and
-- no other. When they are many they become a row of `charge`, and when the meter closes.
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
  opened_ms INTEGER NOT NULL,
  first_charge_ms INTEGER,                      -- when the first token was paid for
  closed_ms INTEGER,
  last_choice INTEGER NOT NULL DEFAULT 0 CHECK(last_choice>=0),  -- whose ids `last_ids` are
  last_ids BLOB NOT NULL DEFAULT x''            -- behind those in `charge`
    CHECK(length(last_ids)%4=0 AND (state='open' OR length(last_ids)=0)),
  CHECK((state='open')=(closed_ms IS NULL)), CHECK((state='open')=(finish_reason IS NULL)),
  CHECK((state='open')=(ids_sha256 IS NULL))) STRICT;
CREATE UNIQUE INDEX meter_idempotency ON meter(key_id,idempotency_key)
  WHERE idempotency_key IS NOT NULL AND state<>'reversed';
CREATE INDEX meter_open ON meter(account_id) WHERE state='open';
CREATE INDEX meter_account ON meter(account_id,opened_ms);
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
    AND new.ids_sha256=old.ids_sha256 AND new.first_charge_ms IS old.first_charge_ms
    AND new.closed_ms=old.closed_ms)
  BEGIN SELECT RAISE(ABORT,'meter is closed'); END;
CREATE TRIGGER meter_ids_stay BEFORE UPDATE OF last_choice,last_ids ON meter
  WHEN (length(new.last_ids)<length(old.last_ids)
      OR substr(new.last_ids,1,length(old.last_ids))<>old.last_ids
      OR (new.last_choice<>old.last_choice AND length(old.last_ids)>0))
    AND NOT EXISTS(SELECT 1 FROM charge WHERE meter_id=old.id
      AND n=(SELECT max(n) FROM charge WHERE meter_id=old.id)
      AND choice=old.last_choice AND token_ids=old.last_ids)
  BEGIN SELECT RAISE(ABORT,'ids stay'); END;
CREATE TRIGGER meter_no_delete BEFORE DELETE ON meter
  BEGIN SELECT RAISE(ABORT,'append-only'); END;

-- The ids that were paid for, little-endian u32, in rows n = 0, 1, 2, ... of each meter, in order.
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

-- Orders of packs. The order is written first, then the provider is asked. Once `paid` it never
-- becomes unpaid; an order that failed, expired or was cancelled may still be paid late.
CREATE TABLE topup(
  id BLOB PRIMARY KEY CHECK(length(id)=16),
  account_id INTEGER NOT NULL REFERENCES account,
  pack TEXT NOT NULL,
  fils INTEGER NOT NULL CHECK(fils>0), credits INTEGER NOT NULL CHECK(credits>0),
  refunded_fils INTEGER NOT NULL DEFAULT 0 CHECK(refunded_fils BETWEEN 0 AND fils),
  refunded_credits INTEGER NOT NULL DEFAULT 0 CHECK(refunded_credits BETWEEN 0 AND credits),
  state TEXT NOT NULL CHECK(state IN('created','pending','paid','failed','expired','cancelled')),
  provider TEXT NOT NULL, provider_order_id TEXT, provider_payment_id TEXT,
  redirect_url TEXT,                            -- where the customer pays
  instructions TEXT,                            -- or how, when there is no page for it
  idempotency_key TEXT, actor TEXT NOT NULL,
  created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL,
  checked_ms INTEGER,                           -- when the provider was last asked
  paid_ms INTEGER,
  UNIQUE(provider,provider_order_id), UNIQUE(provider,provider_payment_id),
  UNIQUE(account_id,idempotency_key),
  CHECK((state='paid')=(paid_ms IS NOT NULL)),
  CHECK(state='paid' OR (refunded_fils=0 AND refunded_credits=0))) STRICT;
CREATE INDEX topup_account ON topup(account_id,created_ms);
CREATE INDEX topup_waiting ON topup(created_ms) WHERE state IN('created','pending');
CREATE INDEX topup_unpaid ON topup(created_ms) WHERE state<>'paid';
CREATE TRIGGER topup_fixed BEFORE UPDATE OF id,account_id,pack,fils,credits,provider,
  idempotency_key,actor,created_ms ON topup
  BEGIN SELECT RAISE(ABORT,'fixed when ordered'); END;
CREATE TRIGGER topup_stays_paid BEFORE UPDATE OF state,paid_ms,provider_payment_id ON topup
  WHEN old.state='paid'
  BEGIN SELECT RAISE(ABORT,'is paid'); END;
CREATE TRIGGER topup_no_delete BEFORE DELETE ON topup
  BEGIN SELECT RAISE(ABORT,'append-only'); END;

-- Money given back for a top-up. The credits are taken first, by a `refund` transfer; then the
-- provider pays, which the `payout` records; if it does not, the refund is reversed.
CREATE TABLE refund(
  id BLOB PRIMARY KEY CHECK(length(id)=16),
  topup_id BLOB NOT NULL REFERENCES topup,
  fils INTEGER NOT NULL CHECK(fils>0), credits INTEGER NOT NULL CHECK(credits>0),
  state TEXT NOT NULL CHECK(state IN('pending','done','failed')),
  provider_refund_id TEXT, actor TEXT NOT NULL, reason TEXT NOT NULL,
  created_ms INTEGER NOT NULL, ended_ms INTEGER,
  CHECK((state='pending')=(ended_ms IS NULL))) STRICT;
CREATE INDEX refund_topup ON refund(topup_id);
CREATE TRIGGER refund_fixed BEFORE UPDATE OF id,topup_id,fils,credits,actor,reason,created_ms
  ON refund BEGIN SELECT RAISE(ABORT,'fixed when asked for'); END;
CREATE TRIGGER refund_ends_once BEFORE UPDATE ON refund WHEN old.state<>'pending'
  BEGIN SELECT RAISE(ABORT,'refund has ended'); END;
CREATE TRIGGER refund_no_delete BEFORE DELETE ON refund
  BEGIN SELECT RAISE(ABORT,'append-only'); END;

-- What providers told us, as it came, once for each distinct message, and what became of it.
CREATE TABLE payment_event(
  provider TEXT NOT NULL, event_key TEXT NOT NULL,
  topup_id BLOB REFERENCES topup,
  raw BLOB NOT NULL, verdict TEXT NOT NULL, received_ms INTEGER NOT NULL,
  PRIMARY KEY(provider,event_key)) STRICT;
CREATE INDEX payment_event_topup ON payment_event(topup_id);
CREATE TRIGGER payment_event_no_update BEFORE UPDATE ON payment_event
  BEGIN SELECT RAISE(ABORT,'append-only'); END;
CREATE TRIGGER payment_event_no_delete BEFORE DELETE ON payment_event
  BEGIN SELECT RAISE(ABORT,'append-only'); END;

-- Vouchers are made in batches and stored as an HMAC of their code: the codes are shown once.
CREATE TABLE voucher_batch(
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
  credits INTEGER NOT NULL CHECK(credits>0), count INTEGER NOT NULL CHECK(count>0),
  expires_ms INTEGER, actor TEXT NOT NULL, created_ms INTEGER NOT NULL,
  voided_ms INTEGER) STRICT;                    -- what is left of it can not be redeemed
CREATE TRIGGER voucher_batch_fixed
  BEFORE UPDATE OF id,name,credits,count,expires_ms,actor,created_ms ON voucher_batch
  BEGIN SELECT RAISE(ABORT,'fixed when made'); END;
CREATE TRIGGER voucher_batch_no_delete BEFORE DELETE ON voucher_batch
  BEGIN SELECT RAISE(ABORT,'append-only'); END;
CREATE TABLE voucher(
  code_mac BLOB PRIMARY KEY CHECK(length(code_mac)=32),
  batch_id INTEGER NOT NULL REFERENCES voucher_batch,
  redeemed_by INTEGER REFERENCES account, redeemed_ms INTEGER,
  CHECK((redeemed_by IS NULL)=(redeemed_ms IS NULL))) STRICT, WITHOUT ROWID;
CREATE INDEX voucher_batch_rows ON voucher(batch_id);
CREATE TRIGGER voucher_redeemed_once BEFORE UPDATE ON voucher
  WHEN old.redeemed_by IS NOT NULL OR new.code_mac<>old.code_mac OR new.batch_id<>old.batch_id
  BEGIN SELECT RAISE(ABORT,'redeemed once'); END;
CREATE TRIGGER voucher_no_delete BEFORE DELETE ON voucher
  BEGIN SELECT RAISE(ABORT,'append-only'); END;

-- Messages to a team's own server, written with the commit that they tell of, sent after it.
CREATE TABLE notice(
  id INTEGER PRIMARY KEY, account_id INTEGER NOT NULL REFERENCES account,
  kind TEXT NOT NULL CHECK(kind IN('low_balance')),
  balance INTEGER NOT NULL, threshold INTEGER NOT NULL,
  url TEXT,                                     -- none: only the dashboard shows it
  at_ms INTEGER NOT NULL,
  tries INTEGER NOT NULL DEFAULT 0, next_try_ms INTEGER,  -- none: sent, given up, or no url
  sent_ms INTEGER, error TEXT) STRICT;
CREATE INDEX notice_waiting ON notice(next_try_ms) WHERE next_try_ms IS NOT NULL;
CREATE INDEX notice_account ON notice(account_id);
CREATE TRIGGER notice_no_delete BEFORE DELETE ON notice
  BEGIN SELECT RAISE(ABORT,'append-only'); END;

-- What operators did.
CREATE TABLE audit(
  id INTEGER PRIMARY KEY, actor TEXT NOT NULL, action TEXT NOT NULL, detail TEXT NOT NULL,
  at_ms INTEGER NOT NULL) STRICT;
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit
  BEGIN SELECT RAISE(ABORT,'append-only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit
  BEGIN SELECT RAISE(ABORT,'append-only'); END;
