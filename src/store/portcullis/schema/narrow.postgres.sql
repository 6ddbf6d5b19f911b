
DROP TRIGGER token_changed ON token;

CREATE TRIGGER token_changed AFTER INSERT OR DELETE OR UPDATE OF
    id, kind, name, digest, scopes, organizations, projects, allowed_origins, created_at,
    expires_at, revoked_at, narrow
ON token FOR EACH ROW EXECUTE FUNCTION token_changed();
