-- What is told to whoever listens (GET /api/v1/events): a bounded log, written by the very transaction that makes the change.
-- Nothing is decided by it, so that its times may be SQLite's own.

CREATE TABLE feed (
    -- Without a gap: the newest row is never trimmed.
    id      INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000000 AS INTEGER)),
    -- message, alert, condition, notification, presence, mailbox, probe
    kind    TEXT    NOT NULL,
    -- Number of the message, alert, condition or notification; of the others the name.
    subject INTEGER,
    name    TEXT,
    state   TEXT    NOT NULL,
    -- Why; of a condition its severity, of a probed host what was told of it (JSON).
    detail  TEXT    NOT NULL,
    -- Of a presence, JSON array of names; of the others they are in their rows.
    groups  TEXT    NOT NULL DEFAULT '[]'
) STRICT;

CREATE TRIGGER feed_message_stored AFTER INSERT ON message BEGIN
    INSERT INTO feed (kind, subject, state, detail) VALUES ('message', NEW.id, 'stored', '');
END;

CREATE TRIGGER feed_message AFTER UPDATE OF state ON message WHEN NEW.state <> OLD.state BEGIN
    INSERT INTO feed (kind, subject, state, detail) VALUES ('message', NEW.id, NEW.state, NEW.reason);
END;

CREATE TRIGGER feed_alert AFTER INSERT ON alert BEGIN
    INSERT INTO feed (kind, subject, state, detail) VALUES ('alert', NEW.id, NEW.state, NEW.reason);
END;

CREATE TRIGGER feed_condition_new AFTER INSERT ON condition WHEN NEW.open = 1 BEGIN
    INSERT INTO feed (kind, subject, state, detail) VALUES ('condition', NEW.id, 'opened', NEW.severity);
END;

CREATE TRIGGER feed_condition AFTER UPDATE OF open, severity ON condition
    WHEN NEW.open <> OLD.open OR (NEW.open = 1 AND NEW.severity <> OLD.severity) BEGIN
    INSERT INTO feed (kind, subject, state, detail)
    VALUES ('condition', NEW.id, CASE WHEN NEW.open = 0 THEN 'closed' WHEN OLD.open = 0 THEN 'opened' ELSE 'changed' END,
            NEW.severity);
END;

CREATE TRIGGER feed_notification_new AFTER INSERT ON notification BEGIN
    INSERT INTO feed (kind, subject, state, detail) VALUES ('notification', NEW.id, NEW.state, NEW.reason);
END;

CREATE TRIGGER feed_notification AFTER UPDATE OF state ON notification WHEN NEW.state <> OLD.state BEGIN
    INSERT INTO feed (kind, subject, state, detail) VALUES ('notification', NEW.id, NEW.state, NEW.reason);
END;

-- What the probe engine keeps of a host is what it told, in its own words; of a very long one only that there is something.
CREATE TRIGGER feed_probe_new AFTER INSERT ON probe_state BEGIN
    INSERT INTO feed (kind, name, state, detail)
    VALUES ('probe', NEW.name, 'told', CASE WHEN length(NEW.state) <= 8192 THEN NEW.state ELSE '' END);
END;

CREATE TRIGGER feed_probe AFTER UPDATE OF state ON probe_state WHEN NEW.state <> OLD.state BEGIN
    INSERT INTO feed (kind, name, state, detail)
    VALUES ('probe', NEW.name, 'told', CASE WHEN length(NEW.state) <= 8192 THEN NEW.state ELSE '' END);
END;

CREATE TRIGGER feed_probe_over AFTER DELETE ON probe_state BEGIN
    INSERT INTO feed (kind, name, state, detail) VALUES ('probe', OLD.name, 'up', '');
END;
