-- Receipts that do not come: what is sent once more, and whose groups fall back.

-- Recipients whose clients send receipts, as far as is known.
CREATE TABLE sends_receipts (
    jid TEXT NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- Since when the receipt is waited for, where that is not `accepted`: the clock jumped, or it was sent again.
ALTER TABLE notification ADD COLUMN awaited INTEGER;
-- No receipt came in time: to be sent once more, not later than this.
ALTER TABLE notification ADD COLUMN again_until INTEGER;
-- When it was sent once more for that. It never is a second time.
ALTER TABLE notification ADD COLUMN resent INTEGER;

DROP INDEX notification_accepted;
CREATE INDEX notification_awaited ON notification (coalesce(awaited, accepted))
    WHERE state = 'accepted' AND (again_until IS NULL OR resent IS NOT NULL);
CREATE INDEX notification_again ON notification (jid, coalesce(awaited, accepted))
    WHERE state = 'accepted' AND again_until IS NOT NULL AND resent IS NULL;
CREATE INDEX notification_again_until ON notification (again_until)
    WHERE state = 'accepted' AND again_until IS NOT NULL AND resent IS NULL;

-- The group was told of the alert, and a receipt is missing.
ALTER TABLE watch ADD COLUMN unanswered INTEGER NOT NULL DEFAULT 0;

-- Groups of alerts that fell back, or had nothing to fall back on: that happens once.
CREATE TABLE fell_back (
    alert INTEGER NOT NULL REFERENCES alert (id),
    name  TEXT    NOT NULL,
    PRIMARY KEY (alert, name)
) STRICT, WITHOUT ROWID;
