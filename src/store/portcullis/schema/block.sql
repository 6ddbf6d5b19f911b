
CREATE TABLE block (
    fingerprint TEXT NOT NULL PRIMARY KEY
        CHECK (length(fingerprint) = 8 AND ltrim(fingerprint, '0123456789abcdef') = ''),
    reason      TEXT NOT NULL,
    created_at  INTEGER NOT NULL CHECK (created_at >= 0)
) STRICT;
