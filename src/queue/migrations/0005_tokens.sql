-- Tokens of the HTTP API, by their SHA-256.
CREATE TABLE token (
    name      TEXT    NOT NULL PRIMARY KEY,
    sha256    TEXT    NOT NULL UNIQUE,
    -- JSON arrays of words and of names.
    scopes    TEXT    NOT NULL,
    groups    TEXT    NOT NULL,
    created   INTEGER NOT NULL,
    expires   INTEGER,
    last_used INTEGER
) STRICT, WITHOUT ROWID;

-- Requests that were done, by the key that came with them: the same answer is given again.
CREATE TABLE idempotency (
    token   TEXT    NOT NULL,
    key     TEXT    NOT NULL,
    sha256  TEXT    NOT NULL,
    answer  TEXT    NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (token, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_created ON idempotency (created);

-- Alerts that a Prometheus posts again and again while they hold.
CREATE TABLE posted (
    token       TEXT    NOT NULL,
    fingerprint TEXT    NOT NULL,
    -- When it is over unless it is posted again.
    ends        INTEGER NOT NULL,
    -- The alert as it was dispatched, as JSON.
    alert       TEXT    NOT NULL,
    PRIMARY KEY (token, fingerprint)
) STRICT, WITHOUT ROWID;

CREATE INDEX posted_ends ON posted (ends);
