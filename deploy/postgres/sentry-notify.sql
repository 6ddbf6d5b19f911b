-- Optional, beside sentry-store.sql: has Sentry's PostgreSQL tell the gateway that a credential was
-- changed or taken away, so that it forgets it at once and not when `cache.ttl` is over. Run it after
-- sentry-store.sql, as the same role, and again after an upgrade of the gateway; it may be run any number
-- of times:
--
--     psql --single-transaction --set ON_ERROR_STOP=1 --file sentry-notify.sql "$SENTRY_DATABASE_URL"
--
-- It makes one function, and triggers on eleven of Sentry's tables that call it after an UPDATE, a DELETE
-- or a TRUNCATE, and after an INSERT where one more row takes access away. It notifies `portcullis_sentry` of
--
--     <64 hex digits: the SHA-256 digest of the secret> <milliseconds since 1970>
--     all <milliseconds since 1970>
--
-- the latter when a statement concerns more than 500 credentials, or nobody knows which. Every role of the
-- server may listen, and learns no secret.
--
-- Sentry's statements go through whatever happens here: every error is swallowed. But:
--
-- - A statement on one of these tables takes half a millisecond longer.
-- - Transactions that notify are committed one after the other, and can't be prepared (PREPARE
--   TRANSACTION), which Sentry does not do.
-- - While somebody listens and never reads, the queue of the server grows, up to 8 GB unless it is set
--   otherwise; a commit that finds it full fails. So from half of that on nobody is told anything.
--   SELECT pg_notification_queue_usage() shows it.
-- - Making the triggers waits for writes to these tables that are under way, and lets later ones wait.
--
-- It needs PostgreSQL 14 or newer.
--
-- To take it away: DROP FUNCTION portcullis.tell_gateway() CASCADE; what takes sentry-store.sql away does
-- so too.

DO $$
BEGIN
    IF to_regprocedure('portcullis.digest(text)') IS NULL THEN
        RAISE EXCEPTION 'the schema portcullis is not set up' USING HINT = 'Run sentry-store.sql first.';
    END IF;
    -- What runs as its owner must be of nobody else.
    IF EXISTS (
        SELECT FROM pg_catalog.pg_namespace
            WHERE nspname = 'portcullis' AND nspowner <> current_user::regrole
        UNION ALL
        SELECT FROM pg_catalog.pg_proc
            WHERE pronamespace = 'portcullis'::regnamespace AND proowner <> current_user::regrole
    ) THEN
        RAISE EXCEPTION 'the schema portcullis, or a function in it, is not of %', current_user
            USING HINT = 'Run this as the role that ran sentry-store.sql.';
    END IF;
END
$$;

-- It runs as its owner, because whoever writes a user need not be allowed to read the user's tokens. For
-- a lock it waits less long than PostgreSQL looks for deadlocks after: none of Sentry's is ended for it.
CREATE OR REPLACE FUNCTION portcullis.tell_gateway() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp SET lock_timeout = '200ms' AS $function$
DECLARE
    -- What a look-up goes by in a row. It is no part of a trigger's definition: a column that is can't be
    -- altered any more.
    told text;
    -- The digests that the rows in `changed` lead to, where they have none of their own.
    concerned text;
    changed text;
    digests text[];
BEGIN
    BEGIN
        CASE TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME
            -- Of a credential all counts but what surely does not. Its digest stays the same when Sentry
            -- adds the hash to an old row.
            WHEN 'public.sentry_apitoken' THEN
                told := $$coalesce(hashed_token, encode(portcullis.digest(token), 'hex')) AS digest,
                    to_jsonb(r) - '{token,hashed_token,name,date_added,date_updated,date_last_used}'::text[]$$;
            WHEN 'public.sentry_orgauthtoken' THEN
                told := $$token_hashed AS digest,
                    to_jsonb(r) - '{name,date_added,date_updated,date_last_used,project_last_used_id}'::text[]$$;
            WHEN 'public.sentry_apikey' THEN
                told := $$encode(portcullis.digest(key), 'hex') AS digest,
                    to_jsonb(r) - '{label,date_added,date_updated,date_last_used}'::text[]$$;
            WHEN 'public.sentry_projectkey' THEN
                told := $$encode(portcullis.digest(public_key), 'hex') AS digest,
                    to_jsonb(r) - '{label,date_added,date_updated,date_last_used}'::text[]$$;
            WHEN 'public.auth_user' THEN
                told := 'id, is_active, is_sentry_app';
                concerned := 'SELECT t.digest FROM changed c JOIN tokens t ON t.user_id = c.id';
            WHEN 'public.sentry_apiapplication' THEN
                told := 'id, status';
                concerned := 'SELECT t.digest FROM changed c JOIN tokens t ON t.application_id = c.id';
            WHEN 'public.sentry_sentryapp' THEN
                told := 'id, application_id, proxy_user_id, date_deleted, scope_list, scopes';
                concerned := $$SELECT t.digest FROM changed c
                    JOIN tokens t ON t.application_id = c.application_id OR t.user_id = c.proxy_user_id$$;
            WHEN 'public.sentry_sentryappinstallation' THEN
                told := 'id, api_token_id, sentry_app_id, organization_id, date_deleted';
                concerned := $$SELECT t.digest FROM tokens t WHERE t.id IN (
                    SELECT api_token_id FROM changed
                    UNION ALL
                    SELECT x.api_token_id FROM changed c
                    JOIN public.sentry_sentryappinstallationtoken x ON x.sentry_app_installation_id = c.id)$$;
            WHEN 'public.sentry_sentryappinstallationtoken' THEN
                told := 'id, api_token_id, sentry_app_installation_id';
                concerned := 'SELECT t.digest FROM changed c JOIN tokens t ON t.id = c.api_token_id';
            WHEN 'public.sentry_project' THEN
                told := 'id, status, slug, organization_id';
                concerned := $$SELECT encode(portcullis.digest(k.public_key), 'hex') FROM changed c
                    JOIN public.sentry_projectkey k ON k.project_id = c.id$$;
            WHEN 'public.sentry_organization' THEN
                told := 'id, status, slug';
                concerned := $$SELECT 'all' FROM changed$$;
        END CASE;
        CASE TG_OP
            WHEN 'UPDATE' THEN
                changed := format('SELECT %1$s FROM old_rows r EXCEPT SELECT %1$s FROM new_rows r', told);
                -- A secret that a row has from now on was let in nowhere; what it leads to from now on was.
                IF concerned IS NOT NULL THEN
                    changed := format('(%2$s) UNION ALL
                        (SELECT %1$s FROM new_rows r EXCEPT SELECT %1$s FROM old_rows r)', told, changed);
                END IF;
            WHEN 'DELETE' THEN
                changed := format('SELECT %s FROM old_rows r', told);
            WHEN 'INSERT' THEN
                changed := format('SELECT %s FROM new_rows r', told);
            WHEN 'TRUNCATE' THEN
                changed := 'SELECT';
                concerned := $$SELECT 'all'$$;
        END CASE;
        EXECUTE format(
            $$WITH changed AS (%s), tokens AS (
                SELECT id, user_id, application_id,
                    coalesce(hashed_token, encode(portcullis.digest(token), 'hex')) AS digest
                FROM public.sentry_apitoken
            )
            SELECT array_agg(digest) FROM (
                SELECT DISTINCT digest FROM (%s) AS concerned (digest)
                WHERE digest ~ '^([0-9a-f]{64}|all)$' LIMIT 501
            ) AS found$$,
            changed, coalesce(concerned, 'SELECT digest FROM changed')) INTO digests;
        IF cardinality(digests) > 500 THEN
            digests := '{all}';
        END IF;
    -- A statement that is cancelled, or runs out of the time that Sentry gives it, ends all the same.
    EXCEPTION WHEN OTHERS THEN
        RAISE LOG 'portcullis: whom % of % concerns is not known (SQLSTATE %)', TG_OP, TG_TABLE_NAME, SQLSTATE;
        digests := '{all}';
    END;
    BEGIN
        -- A full queue fails when the transaction commits, where nothing can be caught.
        IF digests IS NOT NULL AND pg_notification_queue_usage() < 0.5 THEN
            PERFORM pg_notify('portcullis_sentry',
                digest || ' ' || floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint)
            FROM unnest(digests) AS digest;
        END IF;
    EXCEPTION WHEN OTHERS THEN
        RAISE LOG 'portcullis: % of % could not be told (SQLSTATE %)', TG_OP, TG_TABLE_NAME, SQLSTATE;
    END;
    RETURN NULL;
END
$function$;

-- A trigger calls it whoever writes the row. Who may call it could make a trigger of it.
REVOKE ALL ON FUNCTION portcullis.tell_gateway() FROM PUBLIC;

DO $$
DECLARE
    of_table record;
BEGIN
    FOR of_table IN
        SELECT * FROM (VALUES
            ('sentry_apitoken', false),
            ('sentry_orgauthtoken', false),
            ('sentry_apikey', false),
            ('sentry_projectkey', false),
            ('sentry_project', false),
            ('sentry_organization', false),
            ('auth_user', false),
            ('sentry_apiapplication', false),
            -- With one of these more, a token is of an integration, and may less.
            ('sentry_sentryapp', true),
            ('sentry_sentryappinstallation', true),
            ('sentry_sentryappinstallationtoken', true)
        ) AS of_table (name, on_insert)
    LOOP
        EXECUTE format(
            'CREATE OR REPLACE TRIGGER portcullis_update AFTER UPDATE ON public.%1$I
                REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
                FOR EACH STATEMENT EXECUTE FUNCTION portcullis.tell_gateway();
            CREATE OR REPLACE TRIGGER portcullis_delete AFTER DELETE ON public.%1$I
                REFERENCING OLD TABLE AS old_rows
                FOR EACH STATEMENT EXECUTE FUNCTION portcullis.tell_gateway();
            CREATE OR REPLACE TRIGGER portcullis_truncate AFTER TRUNCATE ON public.%1$I
                FOR EACH STATEMENT EXECUTE FUNCTION portcullis.tell_gateway();', of_table.name);
        IF of_table.on_insert THEN
            EXECUTE format(
                'CREATE OR REPLACE TRIGGER portcullis_insert AFTER INSERT ON public.%I
                    REFERENCING NEW TABLE AS new_rows
                    FOR EACH STATEMENT EXECUTE FUNCTION portcullis.tell_gateway();', of_table.name);
        END IF;
    END LOOP;
END
$$;
