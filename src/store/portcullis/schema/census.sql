
ALTER TABLE token ADD COLUMN census TEXT;

ALTER TABLE token ADD COLUMN rotated_from TEXT;

ALTER TABLE token ADD COLUMN successor TEXT;

DROP INDEX token_name;

CREATE UNIQUE INDEX token_name ON token (name) WHERE revoked_at IS NULL AND successor IS NULL;

CREATE INDEX token_canary ON token (kind)
    WHERE kind IN ('canary-bearer', 'canary-api-key', 'canary-dsn');
