
-- Revisions must become visible in their order, or a reader would pass over one that commits late: so
-- one transaction at a time takes them. Whoever listens is told at the commit.
CREATE FUNCTION note_change(digest bytea, revoked_at bigint) RETURNS void
    LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    noted bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(1349796723);
    INSERT INTO change (digest, revoked_at) VALUES ($1, $2) RETURNING revision INTO noted;
    IF noted % 1000 = 0 THEN
        DELETE FROM change WHERE revision <= noted - 10000;
    END IF;
    PERFORM pg_notify('portcullis_change', '');
END
$$;

-- As their owner: whoever changes a token needs no right to the log, and has none to cut it.
CREATE FUNCTION token_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM note_change(NEW.digest, NULL);
    ELSIF TG_OP = 'DELETE' THEN
        PERFORM note_change(OLD.digest, NULL);
    ELSIF TG_OP = 'TRUNCATE' THEN
        -- No digest: everything is forgotten.
        PERFORM note_change('\x00', NULL);
    ELSE
        PERFORM note_change(OLD.digest, CASE WHEN OLD.revoked_at IS NULL THEN NEW.revoked_at END);
        IF NEW.digest <> OLD.digest THEN
            PERFORM note_change(NEW.digest, NULL);
        END IF;
    END IF;
    RETURN NULL;
END
$$;

REVOKE EXECUTE ON FUNCTION note_change(bytea, bigint) FROM PUBLIC;

CREATE TRIGGER token_changed AFTER INSERT OR DELETE OR UPDATE OF
    id, kind, name, digest, scopes, organizations, projects, allowed_origins, created_at,
    expires_at, revoked_at
ON token FOR EACH ROW EXECUTE FUNCTION token_changed();

CREATE TRIGGER token_emptied AFTER TRUNCATE ON token
    FOR EACH STATEMENT EXECUTE FUNCTION token_changed();
