-- From version 1 to 2: money, vouchers, people, notices, and more kinds of transfers.
-- A table whose rules change is made anew beside the old one, filled, and put in its place
-- (sqlite.org/lang_altertable.html, 7). Runs without foreign keys, which are checked at the end.

CREATE TABLE account_new(
  id INTEGER PRIMARY KEY,
  kind TEXT NOT NULL CHECK(kind IN('team','paid','granted','spent','revenue','cash')),
  name TEXT NOT NULL UNIQUE, plan TEXT NOT NULL,
  created_ms INTEGER NOT NULL, closed_ms INTEGER,
  frozen_ms INTEGER,
  balance INTEGER NOT NULL DEFAULT 0,
  credited INTEGER NOT NULL DEFAULT 0,
  notice_below INTEGER CHECK(notice_below>0),
  notice_url TEXT,
  noticed_ms INTEGER,
  CHECK(kind<>'team' OR (balance>=0 AND credited>=balance)),
  CHECK(kind='team' OR (closed_ms IS NULL AND frozen_ms IS NULL AND credited=0
    AND notice_below IS NULL)),
  CHECK(notice_below IS NOT NULL OR (notice_url IS NULL AND noticed_ms IS NULL))) STRICT;
INSERT INTO account_new(id,kind,name,plan,created_ms,closed_ms,balance,credited)
  SELECT id,kind,name,plan,created_ms,closed_ms,balance,credited FROM account;
DROP TABLE account;
ALTER TABLE account_new RENAME TO account;
CREATE UNIQUE INDEX account_house ON account(kind) WHERE kind NOT IN('team','cash');
CREATE TRIGGER account_fixed BEFORE UPDATE OF id,kind,created_ms ON account
  BEGIN SELECT RAISE(ABORT,'fixed at creation'); END;
CREATE TRIGGER account_no_delete BEFORE DELETE ON account
  BEGIN SELECT RAISE(ABORT,'append-only'); END;
INSERT INTO account(kind,name,plan,created_ms) VALUES('revenue','house:revenue','',0);

CREATE TABLE user(
  id INTEGER PRIMARY KEY, account_id INTEGER REFERENCES account,
  name TEXT NOT NULL UNIQUE,
  role TEXT NOT NULL CHECK(role IN('owner','member','operator')),
  password_hash TEXT,
  created_ms INTEGER NOT NULL, disabled_ms INTEGER,
  CHECK((role='operator')=(account_id IS NULL))) STRICT;
CREATE INDEX user_account ON user(account_id);
CREATE TRIGGER user_fixed BEFORE UPDATE OF id,account_id,name,created_ms ON user
  BEGIN SELECT RAISE(ABORT,'fixed at creation'); END;
CREATE TRIGGER user_no_delete BEFORE DELETE ON user
  BEGIN SELECT RAISE(ABORT,'append-only'); END;
CREATE TABLE invitation(
  secret_hash BLOB PRIMARY KEY CHECK(length(secret_hash)=32),
  user_id INTEGER NOT NULL REFERENCES user,
  created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, accepted_ms INTEGER)
  STRICT, WITHOUT ROWID;
CREATE TABLE session(
  secret_hash BLOB PRIMARY KEY CHECK(length(secret_hash)=32),
  user_id INTEGER NOT NULL REFERENCES user,
  created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX session_expiry ON session(expires_ms);

-- Keys that were made before there were scopes may do what they could do then.
CREATE TABLE api_key_new(
  id INTEGER PRIMARY KEY, account_id INTEGER NOT NULL REFERENCES account,
  user_id INTEGER REFERENCES user,
  label TEXT NOT NULL, prefix TEXT NOT NULL,
  secret_hash BLOB NOT NULL UNIQUE CHECK(length(secret_hash)=32),
  scopes TEXT NOT NULL CHECK(scopes<>''),
  limit_credits INTEGER CHECK(limit_credits>=0),
  limit_reset TEXT CHECK(limit_reset IN('daily','weekly','monthly')),
  total_limit_credits INTEGER CHECK(total_limit_credits>=0),
  period_start_ms INTEGER NOT NULL,
  period_used INTEGER NOT NULL DEFAULT 0 CHECK(period_used>=0),
  used INTEGER NOT NULL DEFAULT 0 CHECK(used>=period_used),
  created_ms INTEGER NOT NULL, expires_ms INTEGER, revoked_ms INTEGER,
  CHECK(limit_reset IS NULL OR limit_credits IS NOT NULL)) STRICT;
INSERT INTO api_key_new(id,account_id,label,prefix,secret_hash,scopes,limit_credits,limit_reset,
  period_start_ms,period_used,used,created_ms,revoked_ms)
  SELECT id,account_id,label,prefix,secret_hash,'inference,usage',limit_credits,limit_reset,
  period_start_ms,period_used,used,created_ms,revoked_ms FROM api_key;
DROP TABLE api_key;
ALTER TABLE api_key_new RENAME TO api_key;
CREATE INDEX api_key_account ON api_key(account_id);
CREATE TRIGGER api_key_fixed
  BEFORE UPDATE OF id,account_id,user_id,prefix,secret_hash,created_ms ON api_key
  BEGIN SELECT RAISE(ABORT,'fixed at creation'); END;
CREATE TRIGGER api_key_no_delete BEFORE DELETE ON api_key
  BEGIN SELECT RAISE(ABORT,'append-only'); END;

CREATE TABLE transfer_new(
  seq INTEGER PRIMARY KEY CHECK(seq>0),
  id BLOB NOT NULL CHECK(length(id)=16),
  kind TEXT NOT NULL CHECK(kind IN('topup','payment','voucher','grant','correction','spend',
    'reversal','refund','payout')),
  from_id INTEGER NOT NULL REFERENCES account,
  to_id INTEGER NOT NULL REFERENCES account,
  amount INTEGER NOT NULL CHECK(amount>0),
  source BLOB NOT NULL CHECK(length(source)=16),
  reverses INTEGER UNIQUE REFERENCES transfer,
  actor TEXT NOT NULL, reason TEXT, at_ms INTEGER NOT NULL,
  prev_hash BLOB NOT NULL CHECK(length(prev_hash)=32),
  hash BLOB NOT NULL CHECK(length(hash)=32),
  CHECK(from_id<>to_id), CHECK((kind='reversal')=(reverses IS NOT NULL)),
  CHECK(kind NOT IN('grant','correction','refund') OR reason IS NOT NULL)) STRICT;
INSERT INTO transfer_new(seq,id,kind,from_id,to_id,amount,source,reverses,actor,reason,at_ms,
  prev_hash,hash)
  SELECT seq,id,kind,from_id,to_id,amount,source,reverses,actor,reason,at_ms,
  prev_hash,hash FROM transfer ORDER BY seq;
DROP TABLE transfer;
ALTER TABLE transfer_new RENAME TO transfer;
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

CREATE TABLE meter_new(
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
  first_charge_ms INTEGER,
  closed_ms INTEGER,
  CHECK((state='open')=(closed_ms IS NULL)), CHECK((state='open')=(finish_reason IS NULL)),
  CHECK((state='open')=(ids_sha256 IS NULL))) STRICT;
INSERT INTO meter_new(id,account_id,key_id,model,model_digest,credits_per_token,streamed,
  input_tokens,output_tokens,used,period_start_ms,period_used,state,finish_reason,ids_sha256,
  idempotency_key,body_hash,boot,opened_ms,closed_ms)
  SELECT id,account_id,key_id,model,model_digest,credits_per_token,streamed,
  input_tokens,output_tokens,used,period_start_ms,period_used,state,finish_reason,ids_sha256,
  idempotency_key,body_hash,boot,opened_ms,closed_ms FROM meter ORDER BY rowid;
DROP TABLE meter;
ALTER TABLE meter_new RENAME TO meter;
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
CREATE TRIGGER meter_no_delete BEFORE DELETE ON meter
  BEGIN SELECT RAISE(ABORT,'append-only'); END;

CREATE TABLE topup(
  id BLOB PRIMARY KEY CHECK(length(id)=16),
  account_id INTEGER NOT NULL REFERENCES account,
  pack TEXT NOT NULL,
  fils INTEGER NOT NULL CHECK(fils>0), credits INTEGER NOT NULL CHECK(credits>0),
  refunded_fils INTEGER NOT NULL DEFAULT 0 CHECK(refunded_fils BETWEEN 0 AND fils),
  refunded_credits INTEGER NOT NULL DEFAULT 0 CHECK(refunded_credits BETWEEN 0 AND credits),
  state TEXT NOT NULL CHECK(state IN('created','pending','paid','failed','expired','cancelled')),
  provider TEXT NOT NULL, provider_order_id TEXT, provider_payment_id TEXT,
  redirect_url TEXT,
  instructions TEXT,
  idempotency_key TEXT, actor TEXT NOT NULL,
  created_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL,
  checked_ms INTEGER,
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
CREATE TABLE voucher_batch(
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
  credits INTEGER NOT NULL CHECK(credits>0), count INTEGER NOT NULL CHECK(count>0),
  expires_ms INTEGER, actor TEXT NOT NULL, created_ms INTEGER NOT NULL,
  voided_ms INTEGER) STRICT;
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
CREATE TABLE notice(
  id INTEGER PRIMARY KEY, account_id INTEGER NOT NULL REFERENCES account,
  kind TEXT NOT NULL CHECK(kind IN('low_balance')),
  balance INTEGER NOT NULL, threshold INTEGER NOT NULL,
  url TEXT,
  at_ms INTEGER NOT NULL,
  tries INTEGER NOT NULL DEFAULT 0, next_try_ms INTEGER,
  sent_ms INTEGER, error TEXT) STRICT;
CREATE INDEX notice_waiting ON notice(next_try_ms) WHERE next_try_ms IS NOT NULL;
CREATE INDEX notice_account ON notice(account_id);
CREATE TRIGGER notice_no_delete BEFORE DELETE ON notice
  BEGIN SELECT RAISE(ABORT,'append-only'); END;
