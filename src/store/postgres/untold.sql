-- The tables of which not every trigger of deploy/postgres/sentry-notify.sql is there. Reads catalogs alone.
WITH expected AS (
    SELECT name, 'portcullis_' || event AS trigger
    FROM (VALUES
        ('sentry_apitoken', false),
        ('sentry_orgauthtoken', false),
        ('sentry_apikey', false),
        ('sentry_projectkey', false),
        ('sentry_project', false),
        ('sentry_organization', false),
        ('auth_user', false),
        ('sentry_apiapplication', false),
        ('sentry_sentryapp', true),
        ('sentry_sentryappinstallation', true),
        ('sentry_sentryappinstallationtoken', true)
    ) AS of_table (name, on_insert),
    (VALUES ('update'), ('delete'), ('truncate'), ('insert')) AS of_event (event)
    WHERE event <> 'insert' OR on_insert
)
SELECT DISTINCT name FROM expected
WHERE NOT EXISTS (
    SELECT FROM pg_catalog.pg_trigger t
    JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid
    JOIN pg_catalog.pg_namespace f ON f.oid = p.pronamespace
    WHERE n.nspname = 'public' AND c.relname = name AND t.tgname = trigger
        AND f.nspname = 'portcullis' AND p.proname = 'tell_gateway' AND t.tgenabled IN ('O', 'A')
)
ORDER BY 1
