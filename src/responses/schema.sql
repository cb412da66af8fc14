-- Answers and what they answered, for callers who ask for them again or go on from them.
-- Private text, which its owner may remove at any time and which ends by itself: not for the books.

CREATE TABLE response (
    seq         INTEGER PRIMARY KEY,
    -- As callers write it.
    id          TEXT NOT NULL UNIQUE,
    account     INTEGER NOT NULL,
    -- The response that this one goes on from. It existed when this row was made, so that rows form
    -- no circles; it may have been removed since.
    previous    TEXT,
    created_ms  INTEGER NOT NULL,
    -- Responses in the conversation up to here, and their bytes: known without walking it.
    depth       INTEGER NOT NULL CHECK (depth >= 1),
    total_bytes INTEGER NOT NULL CHECK (total_bytes >= bytes),
    bytes       INTEGER NOT NULL CHECK (bytes >= 0),
    -- JSON: an array of items, and the object as it was answered.
    input       TEXT NOT NULL,
    body        TEXT NOT NULL
) STRICT;

CREATE INDEX response_by_account ON response (account, created_ms, seq);
CREATE INDEX response_by_time ON response (created_ms);

-- What each account keeps.
CREATE TABLE account_use (
    account INTEGER PRIMARY KEY,
    bytes   INTEGER NOT NULL CHECK (bytes >= 0)
) STRICT;

CREATE TRIGGER response_is_kept AFTER INSERT ON response BEGIN
    INSERT INTO account_use (account, bytes) VALUES (new.account, new.bytes)
        ON CONFLICT (account) DO UPDATE SET bytes = bytes + new.bytes;
END;

CREATE TRIGGER response_is_removed AFTER DELETE ON response BEGIN
    UPDATE account_use SET bytes = bytes - old.bytes WHERE account = old.account;
END;
