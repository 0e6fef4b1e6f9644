-- What people ask: alerts and notifications by time, alerts by group, and why somebody was not told.

-- Groups that an alert is for: those that it was routed to or fell back on; of what follows on a beginning those of that as well.
CREATE TABLE alert_group (
    name  TEXT    NOT NULL,
    alert INTEGER NOT NULL REFERENCES alert (id),
    PRIMARY KEY (name, alert)
) STRICT, WITHOUT ROWID;

CREATE INDEX alert_group_of ON alert_group (alert);

-- Who of these groups was not to be told, and why. `@NAME`: a whole group.
CREATE TABLE left_out (
    alert INTEGER NOT NULL REFERENCES alert (id),
    who   TEXT    NOT NULL,
    at    INTEGER NOT NULL,
    why   TEXT    NOT NULL,
    PRIMARY KEY (alert, who)
) STRICT, WITHOUT ROWID;

-- The presence that was seen when it was decided last whether to send.
ALTER TABLE notification ADD COLUMN presence TEXT;

CREATE INDEX alert_created ON alert (created);
CREATE INDEX notification_created ON notification (created);
CREATE INDEX condition_open ON condition (id) WHERE open = 1;

-- What was there before.
INSERT INTO alert_group (name, alert)
    SELECT DISTINCT g.value, n.alert FROM notification n JOIN json_each(n.groups) g WHERE n.alert IS NOT NULL;
INSERT INTO alert_group (name, alert)
    SELECT g.name, a.id FROM alert a JOIN alert_group g ON g.alert = a.resolves WHERE true ON CONFLICT DO NOTHING;
