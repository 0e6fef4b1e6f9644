-- Times are microseconds since 1970, UTC. States are words, so that a person with the sqlite3 shell can read them.
-- Partial indexes hold only what is in progress: what a look costs does not depend on how much history there is.

CREATE TABLE counter (
    name  TEXT    NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One raw mail as found in a mailbox. The row outlives the mail: it says that the mail was seen.
CREATE TABLE message (
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    mailbox       TEXT    NOT NULL,
    uidvalidity   INTEGER,
    uid           INTEGER,
    uidl          TEXT,
    -- Handed in by LMTP, not fetched: what its rows for several mailboxes have in common.
    delivery      TEXT,
    -- A UIDL that a later listing did not hold any more; the same UIDL is then another mail.
    retired       INTEGER NOT NULL DEFAULT 0,
    state         TEXT    NOT NULL DEFAULT 'ready',
    reason        TEXT    NOT NULL DEFAULT '',
    size          INTEGER NOT NULL,
    raw_sha256    BLOB    NOT NULL,
    oversize      INTEGER,
    internal_date INTEGER,
    stored        INTEGER NOT NULL,
    parsed        INTEGER,
    cleared       INTEGER NOT NULL DEFAULT 0,
    rejected      INTEGER NOT NULL DEFAULT 0,
    -- An operator had it read again: its age does not matter any more.
    replayed      INTEGER NOT NULL DEFAULT 0,
    digest_id     TEXT,
    digest_date   INTEGER,
    digest_body   BLOB,
    CHECK ((uidvalidity IS NULL) = (uid IS NULL)),
    CHECK ((uid IS NOT NULL) + (uidl IS NOT NULL) + (delivery IS NOT NULL) = 1)
) STRICT;

CREATE UNIQUE INDEX message_imap ON message (mailbox, uidvalidity, uid) WHERE uid IS NOT NULL;
CREATE UNIQUE INDEX message_pop3 ON message (mailbox, uidl) WHERE uidl IS NOT NULL AND retired = 0;
CREATE INDEX message_ready ON message (mailbox, id) WHERE state = 'ready';
CREATE INDEX message_uncleared ON message (mailbox, id) WHERE cleared = 0;
CREATE INDEX message_digest ON message (digest_id) WHERE digest_id IS NOT NULL;
CREATE INDEX message_same ON message (raw_sha256) WHERE digest_id IS NULL AND digest_body IS NOT NULL;

-- The mail itself, purged after a while.
CREATE TABLE raw (
    message INTEGER PRIMARY KEY REFERENCES message (id),
    bytes   BLOB    NOT NULL
) STRICT;

-- A message with a row here is in quarantine, whatever else came of it.
CREATE TABLE quarantine_reason (
    message INTEGER NOT NULL REFERENCES message (id),
    n       INTEGER NOT NULL,
    reason  TEXT    NOT NULL,
    PRIMARY KEY (message, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE alert (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    message     INTEGER REFERENCES message (id),
    source      TEXT    NOT NULL,
    scope       TEXT    NOT NULL,
    ident       TEXT    NOT NULL,
    sender      TEXT    NOT NULL,
    -- What a digest counts it under: its host label, else its sender.
    origin      TEXT    NOT NULL,
    format      TEXT    NOT NULL,
    status      TEXT    NOT NULL,
    severity    TEXT    NOT NULL,
    sent        INTEGER,
    title       TEXT    NOT NULL,
    -- The whole alert as JSON; the columns above are what is searched by.
    body        TEXT    NOT NULL,
    state       TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    received    INTEGER NOT NULL,
    created     INTEGER NOT NULL,
    resolves    INTEGER REFERENCES alert (id),
    open_for_ms INTEGER
) STRICT;

CREATE INDEX alert_ident ON alert (scope, ident, sent);
CREATE INDEX alert_message ON alert (message) WHERE message IS NOT NULL;

CREATE TABLE condition (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    scope      TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    open       INTEGER NOT NULL,
    severity   TEXT    NOT NULL,
    last_sent  INTEGER NOT NULL,
    last_paged INTEGER,
    said_title TEXT,
    said_text  TEXT,
    -- NULL while it is closed.
    opened_by  INTEGER REFERENCES alert (id),
    opened_at  INTEGER,
    UNIQUE (scope, key)
) STRICT;

-- Which conditions an alert is about.
CREATE TABLE alert_condition (
    alert     INTEGER NOT NULL REFERENCES alert (id),
    condition INTEGER NOT NULL REFERENCES condition (id),
    -- The alert has notifications: who was told is looked for here.
    paged     INTEGER NOT NULL,
    PRIMARY KEY (alert, condition)
) STRICT, WITHOUT ROWID;

CREATE INDEX alert_condition_paged ON alert_condition (condition, alert) WHERE paged = 1;

CREATE TABLE notification (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    kind         TEXT    NOT NULL,
    alert        INTEGER REFERENCES alert (id),
    -- The condition within which order is kept, and whether the alert is about others too.
    condition    INTEGER REFERENCES condition (id),
    several      INTEGER NOT NULL DEFAULT 0,
    recipient    TEXT    NOT NULL,
    jid          TEXT    NOT NULL,
    lang         TEXT,
    -- JSON array of names; JSON of the delivery.
    groups       TEXT    NOT NULL,
    delivery     TEXT    NOT NULL,
    stanza_id    TEXT    NOT NULL,
    state        TEXT    NOT NULL,
    severity     TEXT    NOT NULL,
    -- Place in the queue, 0 first; better than its severity's where a worse alert of the condition waits behind it.
    rank         INTEGER NOT NULL,
    forced       INTEGER NOT NULL DEFAULT 0,
    in_doubt     INTEGER NOT NULL DEFAULT 0,
    epoch        INTEGER,
    attempts     INTEGER NOT NULL DEFAULT 0,
    -- Over the cap, or in the pause after a message about its condition: looked at again then.
    waits        INTEGER,
    -- It waited so: a newer one of its condition is sent in its stead.
    follows      INTEGER NOT NULL DEFAULT 0,
    -- How many were left out so in favour of this one.
    folds        INTEGER NOT NULL DEFAULT 0,
    -- The digest that carries it.
    carrier      INTEGER REFERENCES notification (id),
    -- Ended while it was held, and no digest has said so yet.
    unsaid       INTEGER NOT NULL DEFAULT 0,
    -- What a digest or a notice says.
    text         TEXT,
    created      INTEGER NOT NULL,
    not_before   INTEGER,
    expires      INTEGER,
    held_until   INTEGER,
    first_intent INTEGER,
    accepted     INTEGER,
    delivered    INTEGER,
    ended        INTEGER,
    reason       TEXT    NOT NULL DEFAULT ''
) STRICT;

CREATE UNIQUE INDEX notification_stanza ON notification (stanza_id);
CREATE UNIQUE INDEX notification_once ON notification (alert, jid) WHERE alert IS NOT NULL;
CREATE INDEX notification_due ON notification (jid, rank, id) WHERE (state = 'queued' OR in_doubt = 1) AND waits IS NULL;
CREATE INDEX notification_waits ON notification (jid, waits) WHERE (state = 'queued' OR in_doubt = 1) AND waits IS NOT NULL;
CREATE INDEX notification_unsent ON notification (condition, jid, id)
    WHERE state = 'queued' OR state = 'held' OR in_doubt = 1;
CREATE INDEX notification_several ON notification (jid, id) WHERE several = 1 AND (state = 'queued' OR in_doubt = 1);
CREATE INDEX notification_active ON notification (state, id)
    WHERE state IN ('queued', 'held', 'sending', 'accepted');
CREATE INDEX notification_accepted ON notification (accepted) WHERE state = 'accepted';
CREATE INDEX notification_held ON notification (jid, id) WHERE state = 'held';
CREATE INDEX notification_held_until ON notification (held_until) WHERE state = 'held';
CREATE INDEX notification_not_before ON notification (not_before) WHERE state = 'queued' AND not_before IS NOT NULL;
CREATE INDEX notification_expires ON notification (expires)
    WHERE (state = 'queued' OR state = 'held') AND expires IS NOT NULL;
CREATE INDEX notification_carrier ON notification (carrier) WHERE carrier IS NOT NULL;
CREATE INDEX notification_unsaid ON notification (jid) WHERE unsaid = 1;

-- Intents of the last minutes, each copy by itself: what the cap has to count after a restart.
CREATE TABLE intent (
    at           INTEGER NOT NULL,
    notification INTEGER NOT NULL REFERENCES notification (id),
    PRIMARY KEY (at, notification)
) STRICT, WITHOUT ROWID;

-- What cannot be read from the rows' own times.
CREATE TABLE event (
    id           INTEGER PRIMARY KEY,
    alert        INTEGER NOT NULL REFERENCES alert (id),
    notification INTEGER REFERENCES notification (id),
    at           INTEGER NOT NULL,
    event        TEXT    NOT NULL,
    detail       TEXT    NOT NULL
) STRICT;

CREATE INDEX event_alert ON event (alert, id);

-- Groups of alerts of which is not known yet whether somebody can be told.
CREATE TABLE watch (
    alert         INTEGER NOT NULL REFERENCES alert (id),
    name          TEXT    NOT NULL,
    fallback      TEXT,
    fallback_when TEXT,
    PRIMARY KEY (alert, name)
) STRICT, WITHOUT ROWID;

-- What the operators are to be told, counted until it is due.
CREATE TABLE notice (
    topic     TEXT    NOT NULL PRIMARY KEY,
    text      TEXT    NOT NULL,
    count     INTEGER NOT NULL,
    last_told INTEGER
) STRICT, WITHOUT ROWID;
