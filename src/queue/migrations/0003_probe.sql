-- What the probe engine keeps of a host that is not plainly up, in its own words.
CREATE TABLE probe_state (
    name  TEXT NOT NULL PRIMARY KEY,
    state TEXT NOT NULL
) STRICT, WITHOUT ROWID;
