-- What a gateway with a store of `kind = "sentry"` needs in Sentry's own PostgreSQL. Run it once as the
-- owner of Sentry's tables, with the right to make a role (CREATEROLE) and a schema, and again after an
-- upgrade of the gateway; it may be run any number of times:
--
--     psql --single-transaction --set ON_ERROR_STOP=1 --file sentry-store.sql "$SENTRY_DATABASE_URL"
--     psql --command '\password portcullis' "$SENTRY_DATABASE_URL"
--
-- It makes a role that reads no table and may call four functions, besides what PostgreSQL lets every
-- role do. Each finds a credential by the SHA-256 digest of its secret and answers what it may do,
-- never a secret: so the gateway can't read tokens and keys, though Sentry keeps some in plaintext,
-- and no secret is ever part of a statement that PostgreSQL logs. Sentry's tables are not changed, but
-- for three indexes that serve this. They are built in the transaction, and what writes to
-- `sentry_apitoken`, `sentry_apikey` and `sentry_projectkey` waits until it has ended: choose a quiet hour
-- for the first time. Later ones find them there.
--
-- To take all of it away: DROP SCHEMA portcullis CASCADE; DROP ROLE portcullis;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'portcullis') THEN
        CREATE ROLE portcullis LOGIN;
    END IF;
END
$$;

-- A look-up takes a millisecond; one that hangs must not hold a connection. For this database alone: the
-- server may have another one, in which a role of this name writes.
DO $$
BEGIN
    EXECUTE format('ALTER ROLE portcullis IN DATABASE %I SET statement_timeout = ''2s''', current_database());
    EXECUTE format('ALTER ROLE portcullis IN DATABASE %I SET default_transaction_read_only = on', current_database());
END
$$;

CREATE SCHEMA IF NOT EXISTS portcullis;
REVOKE ALL ON SCHEMA portcullis FROM PUBLIC;

-- The version of what follows. A gateway that needs another one says so when it starts.
CREATE OR REPLACE FUNCTION portcullis.version() RETURNS integer
    LANGUAGE sql IMMUTABLE AS 'SELECT 1';

-- In an index, so it must never fail: an insert into Sentry's table would fail with it. It depends on
-- the encoding of the database, which never changes.
CREATE OR REPLACE FUNCTION portcullis.digest(secret text) RETURNS bytea
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS 'SELECT pg_catalog.sha256(pg_catalog.convert_to(secret, ''UTF8''))';

-- Rows of old versions of Sentry have no hash. Every other row is found by Sentry's own index.
CREATE INDEX IF NOT EXISTS portcullis_apitoken_digest
    ON public.sentry_apitoken (portcullis.digest(token)) WHERE hashed_token IS NULL;
CREATE INDEX IF NOT EXISTS portcullis_apikey_digest
    ON public.sentry_apikey (portcullis.digest(key));
CREATE INDEX IF NOT EXISTS portcullis_projectkey_digest
    ON public.sentry_projectkey (portcullis.digest(public_key));

-- A Bearer token that stands for a user: personal, of an OAuth application, or of an integration.
-- Columns that not every version of Sentry has are read out of the row as JSON.
CREATE OR REPLACE FUNCTION portcullis.find_token(digest bytea) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH found AS (
        SELECT t.* FROM public.sentry_apitoken t
            WHERE t.hashed_token = encode($1, 'hex')
        UNION ALL
        SELECT t.* FROM public.sentry_apitoken t
            WHERE t.hashed_token IS NULL AND portcullis.digest(t.token) = $1
        LIMIT 1
    ),
    installed AS (
        SELECT i.id, i.sentry_app_id, i.organization_id
        FROM found
        JOIN public.sentry_sentryappinstallation i ON i.api_token_id = found.id
        WHERE i.date_deleted IS NULL
        UNION
        SELECT i.id, i.sentry_app_id, i.organization_id
        FROM found
        JOIN public.sentry_sentryappinstallationtoken x ON x.api_token_id = found.id
        JOIN public.sentry_sentryappinstallation i ON i.id = x.sentry_app_installation_id
        WHERE i.date_deleted IS NULL
    ),
    installation AS (
        SELECT count(*) AS matches, min(sentry_app_id) AS app_id, min(organization_id) AS organization_id
        FROM installed
    ),
    app AS (
        SELECT a.id, a.date_deleted, a.scope_list, a.scopes, count(*) OVER () AS matches
        FROM found
        JOIN public.sentry_sentryapp a
            ON a.application_id = found.application_id OR a.proxy_user_id = found.user_id
        LIMIT 1
    )
    SELECT jsonb_build_object(
        'id', found.id,
        'active', owner.is_active
            AND coalesce(application.status = 0, found.application_id IS NULL)
            -- A token of an integration ends with its installation, and has one of each.
            AND CASE
                WHEN app.id IS NULL
                    THEN installation.matches = 0 AND owner.is_sentry_app IS NOT TRUE
                ELSE app.matches = 1 AND app.date_deleted IS NULL
                    AND installation.matches = 1 AND installation.app_id = app.id
            END,
        'expires_at', extract(epoch FROM found.expires_at),
        'scope_list', found.scope_list,
        'scopes', found.scopes,
        'app', CASE WHEN app.id IS NOT NULL THEN
            jsonb_build_object('scope_list', app.scope_list, 'scopes', app.scopes) END,
        'bound', app.id IS NOT NULL OR installation.matches > 0 OR scoped.id IS NOT NULL,
        'organization_id', organization.id,
        'organization_slug', organization.slug)
    FROM found
    JOIN public.auth_user owner ON owner.id = found.user_id
    LEFT JOIN public.sentry_apiapplication application ON application.id = found.application_id
    LEFT JOIN app ON true
    CROSS JOIN installation
    CROSS JOIN LATERAL
        (SELECT (to_jsonb(found) ->> 'scoping_organization_id')::bigint AS id) scoped
    LEFT JOIN public.sentry_organization organization
        ON organization.id = coalesce(installation.organization_id, scoped.id)
$$;

-- A token of an organisation (`sntrys_…`), of which Sentry keeps the hash alone.
CREATE OR REPLACE FUNCTION portcullis.find_org_token(digest bytea) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_build_object(
        'id', token.id,
        'active', token.date_deactivated IS NULL,
        'scope_list', token.scope_list,
        'bound', true,
        'organization_id', organization.id,
        'organization_slug', organization.slug)
    FROM public.sentry_orgauthtoken token
    LEFT JOIN public.sentry_organization organization ON organization.id = token.organization_id
    WHERE token.token_hashed = encode($1, 'hex')
$$;

-- A legacy API key.
CREATE OR REPLACE FUNCTION portcullis.find_api_key(digest bytea) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_build_object(
        'id', key.id,
        'active', key.status = 0,
        'scope_list', key.scope_list,
        'scopes', key.scopes,
        'bound', true,
        'organization_id', organization.id,
        'organization_slug', organization.slug)
    FROM public.sentry_apikey key
    LEFT JOIN public.sentry_organization organization ON organization.id = key.organization_id
    WHERE portcullis.digest(key.key) = $1
$$;

-- The key of a project, as a DSN presents it.
CREATE OR REPLACE FUNCTION portcullis.find_project_key(digest bytea) RETURNS jsonb
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_build_object(
        'id', key.id,
        'active', key.status = 0 AND project.status = 0 AND organization.status = 0,
        'bound', true,
        'organization_id', organization.id,
        'organization_slug', organization.slug,
        'project_id', project.id,
        'project_slug', project.slug)
    FROM public.sentry_projectkey key
    JOIN public.sentry_project project ON project.id = key.project_id
    JOIN public.sentry_organization organization ON organization.id = project.organization_id
    WHERE portcullis.digest(key.public_key) = $1
$$;

-- What somebody else made here, or may call, could run as Sentry: nothing is taken over.
DO $$
DECLARE
    stranger record;
BEGIN
    IF EXISTS (
        SELECT FROM pg_catalog.pg_namespace
            WHERE nspname = 'portcullis' AND nspowner <> current_user::regrole
        UNION ALL
        SELECT FROM pg_catalog.pg_proc
            WHERE pronamespace = 'portcullis'::regnamespace AND proowner <> current_user::regrole
    ) THEN
        RAISE EXCEPTION 'the schema portcullis, or a function in it, is not of %', current_user
            USING HINT = 'DROP SCHEMA portcullis CASCADE, or run this as its owner.';
    END IF;
    FOR stranger IN
        SELECT DISTINCT p.oid::regprocedure AS function, a.grantee::regrole AS role
        FROM pg_catalog.pg_proc p, pg_catalog.aclexplode(p.proacl) a
        WHERE p.pronamespace = 'portcullis'::regnamespace AND a.grantee NOT IN (0, p.proowner)
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM %s', stranger.function, stranger.role);
    END LOOP;
    IF has_schema_privilege('portcullis', 'public', 'CREATE') THEN
        RAISE WARNING 'every role may create objects in the schema public, portcullis too'
            USING HINT = 'REVOKE CREATE ON SCHEMA public FROM PUBLIC, if nothing of yours needs it.';
    END IF;
END
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA portcullis FROM PUBLIC;
-- Whoever writes Sentry's rows computes the digest for the index.
GRANT USAGE ON SCHEMA portcullis TO PUBLIC;
GRANT EXECUTE ON FUNCTION portcullis.digest(text) TO PUBLIC;
GRANT EXECUTE ON FUNCTION
    portcullis.version(),
    portcullis.find_token(bytea),
    portcullis.find_org_token(bytea),
    portcullis.find_api_key(bytea),
    portcullis.find_project_key(bytea)
    TO portcullis;
