
CREATE TRIGGER token_created AFTER INSERT ON token BEGIN
    INSERT INTO change (digest) VALUES (NEW.digest);
END;

CREATE TRIGGER token_changed AFTER UPDATE OF
    id, kind, name, digest, scopes, organizations, projects, allowed_origins, created_at,
    expires_at, revoked_at
ON token BEGIN
    INSERT INTO change (digest, revoked_at) VALUES
        (OLD.digest, CASE WHEN OLD.revoked_at IS NULL THEN NEW.revoked_at END);
    INSERT INTO change (digest) SELECT NEW.digest WHERE NEW.digest <> OLD.digest;
END;

CREATE TRIGGER token_deleted AFTER DELETE ON token BEGIN
    INSERT INTO change (digest) VALUES (OLD.digest);
END;

CREATE TRIGGER change_cut AFTER INSERT ON change WHEN NEW.revision % 1000 = 0 BEGIN
    DELETE FROM change WHERE revision <= NEW.revision - 10000;
END;
