
DROP TRIGGER token_changed;

CREATE TRIGGER token_changed AFTER UPDATE OF
    id, kind, name, digest, scopes, organizations, projects, allowed_origins, created_at,
    expires_at, revoked_at, narrow
ON token BEGIN
    INSERT INTO change (digest, revoked_at) VALUES
        (OLD.digest, CASE WHEN OLD.revoked_at IS NULL THEN NEW.revoked_at END);
    INSERT INTO change (digest) SELECT NEW.digest WHERE NEW.digest <> OLD.digest;
END;
