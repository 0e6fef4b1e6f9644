//! The statements.

use crate::queue::sqlite::rows::notification_columns;
use crate::queue::sqlite::steps::mirror;

/// `n` waits for its receipt.
macro_rules! waits {
    ($n:literal) => {
        concat!($n, ".state = 'accepted' AND (", $n, ".again_until IS NULL OR ", $n, ".resent IS NOT NULL)")
    };
}

/// `n` is to be sent again.
macro_rules! again {
    ($n:literal) => {
        concat!($n, ".state = 'accepted' AND ", $n, ".again_until IS NOT NULL AND ", $n, ".resent IS NULL")
    };
}

/// Receipts of `n`'s recipient were seen.
macro_rules! seen {
    ($n:literal) => {
        concat!("EXISTS (SELECT 1 FROM sends_receipts s WHERE s.jid = ", $n, ".jid)")
    };
}

/// Of the alert that `n` carries nothing holds any more: each of its conditions is as the alert did not leave it, or has been
/// reported to the recipient anew.
macro_rules! alert_over {
    ($n:literal) => {
        concat!(
            "EXISTS (SELECT 1 FROM alert_condition x WHERE x.alert = ",
            $n,
            ".alert) AND NOT EXISTS (SELECT 1 FROM alert_condition x JOIN condition k ON k.id = x.condition \
               JOIN alert a ON a.id = x.alert WHERE x.alert = ",
            $n,
            ".alert AND CASE a.status WHEN 'resolved' THEN k.open = 0 ELSE k.open = 1 AND k.opened_by <= x.alert END \
               AND NOT EXISTS (SELECT 1 FROM alert_condition y JOIN notification o ON o.alert = y.alert AND o.jid = ",
            $n,
            ".jid WHERE y.condition = x.condition AND y.paged = 1 AND y.alert > x.alert \
               AND o.state NOT IN ('expired', 'superseded', 'dead')))"
        )
    };
}

/// Nothing that `n` says holds any more at `$2`. A digest holds as long as one of the alerts that it covers.
macro_rules! over {
    ($n:literal) => {
        concat!(
            "CASE ",
            $n,
            ".kind WHEN 'alert' THEN ",
            alert_over!($n),
            " WHEN 'digest' THEN NOT EXISTS (SELECT 1 FROM notification c WHERE c.carrier = ",
            $n,
            ".id AND (c.expires IS NULL OR c.expires > $2) AND NOT (",
            alert_over!("c"),
            ")) ELSE 0 END"
        )
    };
}

pub(super) const AWAITED: &str = concat!(
    "SELECT (SELECT min(coalesce(n.awaited, n.accepted)) FROM notification n WHERE ",
    waits!("n"),
    ") AS receipt, (SELECT min(coalesce(n.awaited, n.accepted)) FROM notification n WHERE ",
    again!("n"),
    ") AS again, (SELECT min(n.again_until) FROM notification n WHERE ",
    again!("n"),
    ") AS until"
);

pub(super) const UNCONFIRM: &str = concat!(
    "SELECT n.id FROM notification n WHERE ",
    waits!("n"),
    " AND coalesce(n.awaited, n.accepted) < $1 AND n.carrier IS NULL AND n.resent IS NULL AND NOT ",
    seen!("n"),
    " AND $2 IS NOT NULL LIMIT $3 + 0"
);

/// What got its second copy; then what could not be sent again in time; then what misses its first receipt.
pub(super) const SECOND: &str = concat!(
    "SELECT n.id, n.jid FROM notification n WHERE ",
    waits!("n"),
    " AND coalesce(n.awaited, n.accepted) < $1 AND n.carrier IS NULL AND n.resent IS NOT NULL AND $2 IS NOT NULL LIMIT $3 + 0"
);
pub(super) const TOO_LATE: &str = concat!(
    "SELECT n.id FROM notification n WHERE ",
    again!("n"),
    " AND n.again_until <= $2 AND n.carrier IS NULL AND $1 IS NOT NULL LIMIT $3 + 0"
);
pub(super) const FIRST: &str = concat!(
    "SELECT n.id, ",
    over!("n"),
    " AS over FROM notification n WHERE ",
    waits!("n"),
    " AND coalesce(n.awaited, n.accepted) < $1 AND n.carrier IS NULL AND n.resent IS NULL AND ",
    seen!("n"),
    " LIMIT $3 + 0"
);

/// $1: which; $2: now; $3: how long in any case, in microseconds. Groups fall back for whoever of them has not got it.
pub(super) const MISS: &str = concat!(
    "INSERT INTO watch (alert, name, unanswered) SELECT DISTINCT n.alert, g.value, 1 FROM json_each($1) j \
       JOIN notification n ON n.id = j.value OR n.carrier = j.value JOIN json_each(n.groups) g \
       WHERE n.kind = 'alert' AND n.severity = 'critical' AND NOT (",
    alert_over!("n"),
    ") AND NOT EXISTS (SELECT 1 FROM fell_back f WHERE f.alert = n.alert AND f.name = g.value) \
       ON CONFLICT (alert, name) DO UPDATE SET unanswered = 1; \
     INSERT INTO event (alert, notification, at, event, detail) SELECT n.alert, n.id, $2, 'no receipt', '' \
       FROM json_each($1) j JOIN notification n ON n.id = j.value OR n.carrier = j.value WHERE n.alert IS NOT NULL; \
     UPDATE notification SET again_until = max(created + (delivery ->> '$.hold_for_ms') * 1000, \
         coalesce(awaited, accepted) + $3), reason = 'no receipt yet: to be sent again' \
       WHERE id IN (SELECT value FROM json_each($1)); ",
    mirror!("d.id IN (SELECT value FROM json_each($1))")
);

pub(super) const END: &str = concat!(
    "UPDATE notification SET state = 'unconfirmed', ended = $2, reason = $3 \
       WHERE id IN (SELECT value FROM json_each($1)) AND +state = 'accepted'; ",
    mirror!("d.state = 'unconfirmed' AND d.id IN (SELECT value FROM json_each($1))")
);

pub(super) const RECIPIENTS: &str = concat!(
    "SELECT DISTINCT n.jid FROM notification n WHERE ",
    again!("n"),
    " AND coalesce(n.awaited, n.accepted) < $1 AND n.carrier IS NULL"
);

/// $1: recipient; $2: now; $3: accepted before this.
macro_rules! of_recipient {
    ($columns:expr, $rest:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM notification n WHERE n.jid = $1 AND ",
            again!("n"),
            " AND coalesce(n.awaited, n.accepted) < $3 AND n.carrier IS NULL ",
            $rest
        )
    };
}
pub(super) const NO_NEED: &str = of_recipient!(
    concat!(
        "n.id, CASE WHEN ",
        over!("n"),
        " THEN 'over' WHEN NOT ",
        seen!("n"),
        " THEN 'client' WHEN n.expires <= $2 THEN 'use' ELSE '' END AS why"
    ),
    "ORDER BY n.rank, n.id LIMIT $4 + 0"
);
pub(super) const NEVER: &str = of_recipient!("n.id", "AND $2 IS NOT NULL");

pub(super) const BY_NUMBER: &str = concat!(
    "SELECT ",
    notification_columns!(),
    " FROM json_each($1) j JOIN notification n ON n.id = j.value ORDER BY n.rank, n.id"
);

/// $1: which; $2: epoch; $3: now.
pub(super) const RESEND: &str = concat!(
    "UPDATE notification AS n SET resent = $3, awaited = $3, epoch = $2, attempts = attempts + 1, \
           reason = 'sent again: no receipt came' WHERE id IN (SELECT value FROM json_each($1)) AND carrier IS NULL AND ",
    again!("n"),
    " RETURNING id"
);
/// What follows for those that were: $1; $2: now.
pub(super) const RESENT: &str = concat!(
    "INSERT INTO intent (at, notification) SELECT $2, value FROM json_each($1) WHERE true ON CONFLICT DO NOTHING; \
         INSERT INTO event (alert, notification, at, event, detail) SELECT n.alert, n.id, $2, 'sent again', 'no receipt' \
           FROM json_each($1) j JOIN notification n ON n.id = j.value OR n.carrier = j.value WHERE n.alert IS NOT NULL; ",
    mirror!("d.id IN (SELECT value FROM json_each($1))")
);
/// $1: stanza ids.
pub(super) const NOT_RESENT: &str = concat!(
    "DELETE FROM event WHERE event = 'sent again' AND (alert, notification, at) IN \
           (SELECT n.alert, n.id, n.resent FROM json_each($1) j JOIN notification d ON d.stanza_id = j.value \
           JOIN notification n ON n.id = d.id OR n.carrier = d.id WHERE n.state = 'accepted'); \
         UPDATE notification SET resent = NULL, awaited = NULL, attempts = attempts - 1, \
           reason = 'no receipt yet: to be sent again' WHERE stanza_id IN (SELECT value FROM json_each($1)) \
           AND +state = 'accepted' AND resent IS NOT NULL AND again_until IS NOT NULL; ",
    mirror!("d.stanza_id IN (SELECT value FROM json_each($1))")
);

#[cfg(test)]
pub(in crate::queue::sqlite) fn planned() -> Vec<&'static str> {
    let all = [
        AWAITED, UNCONFIRM, SECOND, TOO_LATE, FIRST, MISS, END, RECIPIENTS, NO_NEED, NEVER, BY_NUMBER, RESEND, RESENT,
        NOT_RESENT,
    ];
    all.into_iter().flat_map(|sql| sql.split("; ")).collect()
}
