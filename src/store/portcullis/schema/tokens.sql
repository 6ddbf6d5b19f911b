
CREATE TABLE token (
    id              TEXT NOT NULL PRIMARY KEY,
    kind            TEXT NOT NULL,
    name            TEXT NOT NULL,
    digest          BLOB NOT NULL,
    fingerprint     TEXT NOT NULL,
    scopes          TEXT NOT NULL,
    organizations   TEXT,
    projects        TEXT,
    allowed_origins TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER,
    revoked_at      INTEGER,
    last_used_at    INTEGER,
    UNIQUE (digest, kind)
) STRICT;

CREATE UNIQUE INDEX token_name ON token (name) WHERE revoked_at IS NULL;

CREATE TABLE change (
    revision   INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    digest     BLOB NOT NULL,
    revoked_at INTEGER
) STRICT;
