-- What the purge of old rows looks for.

-- `retired` is for IMAP as well: a complete listing did not hold the mail any more. Its row can be purged.
DROP INDEX message_imap;
CREATE UNIQUE INDEX message_imap ON message (mailbox, uidvalidity, uid) WHERE uid IS NOT NULL AND retired = 0;

-- All alerts of a condition, not only those that paged: a condition goes with its last alert.
DROP INDEX alert_condition_paged;
CREATE INDEX alert_condition_of ON alert_condition (condition, paged, alert);

CREATE INDEX alert_resolves ON alert (resolves) WHERE resolves IS NOT NULL;

-- Digests and notices.
CREATE INDEX notification_plain ON notification (id) WHERE alert IS NULL;
