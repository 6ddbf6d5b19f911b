
CREATE TABLE block (
    fingerprint TEXT NOT NULL PRIMARY KEY,
    reason      TEXT NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;
