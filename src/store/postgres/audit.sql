-- What the connected role has beyond what deploy/postgres/sentry-store.sql gives it, and the statement
-- that takes each of it away. Reads catalogs alone.
WITH me AS (
    SELECT * FROM pg_catalog.pg_roles WHERE rolname = current_user
),
-- Of users and their extensions, not of PostgreSQL; an extension grants what it means to.
relation AS (
    SELECT c.*, n.nspname FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%'
        AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_depend d
            WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
),
routine AS (
    SELECT p.*, n.nspname FROM pg_catalog.pg_proc p
    JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
    WHERE n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\_%'
        AND NOT EXISTS (
            SELECT FROM pg_catalog.pg_depend d
            WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
),
schema AS (
    SELECT * FROM pg_catalog.pg_namespace
    WHERE nspname <> 'information_schema' AND nspname NOT LIKE 'pg\_%'
),
owned AS (
    SELECT relation.oid::regclass::text AS name FROM relation, me WHERE relowner = me.oid
    UNION ALL
    SELECT routine.oid::regprocedure::text FROM routine, me WHERE proowner = me.oid
    UNION ALL
    SELECT 'schema ' || nspname FROM schema, me WHERE nspowner = me.oid
    UNION ALL
    SELECT 'database ' || datname FROM pg_catalog.pg_database, me WHERE datdba = me.oid
),
granted AS (
    SELECT nspname, relation.oid, acl.grantee, string_agg(acl.privilege_type, ', ') AS privileges
    FROM relation, me, pg_catalog.aclexplode(relacl) acl
    WHERE acl.grantee IN (0, me.oid) AND relowner <> me.oid
    GROUP BY 1, 2, 3
),
-- Many of a schema are told in one line.
counted AS (
    SELECT nspname, grantee, count(*) AS count, min(oid::regclass::text) AS first
    FROM granted GROUP BY 1, 2
)
SELECT 'it is a superuser', format('ALTER ROLE %I NOSUPERUSER', rolname) FROM me WHERE rolsuper
UNION ALL
SELECT 'it passes over row security', format('ALTER ROLE %I NOBYPASSRLS', rolname)
    FROM me WHERE rolbypassrls
UNION ALL
SELECT 'it makes roles', format('ALTER ROLE %I NOCREATEROLE', rolname) FROM me WHERE rolcreaterole
UNION ALL
SELECT 'it makes databases', format('ALTER ROLE %I NOCREATEDB', rolname) FROM me WHERE rolcreatedb
UNION ALL
SELECT 'it may replicate everything', format('ALTER ROLE %I NOREPLICATION', rolname)
    FROM me WHERE rolreplication
UNION ALL
SELECT format('it is a member of %s', r.rolname), format('REVOKE %I FROM %I', r.rolname, me.rolname)
    FROM me JOIN pg_catalog.pg_auth_members m ON m.member = me.oid
    JOIN pg_catalog.pg_roles r ON r.oid = m.roleid
UNION ALL
SELECT format('it owns %s object(s), such as %s', count(*), min(name)),
    'connect as another role: deploy/postgres/sentry-store.sql makes `portcullis`'
    FROM owned HAVING count(*) > 0
UNION ALL
SELECT format('%s may %s %s', CASE grantee WHEN 0 THEN 'every role' ELSE 'it' END, privileges, g.oid::regclass),
    format('REVOKE %s ON %s FROM %s', privileges, g.oid::regclass,
        CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(me.rolname) END)
    FROM granted g JOIN counted USING (nspname, grantee), me WHERE counted.count <= 3
UNION ALL
SELECT format('%s has privileges on %s tables of the schema %s, such as %s',
        CASE grantee WHEN 0 THEN 'every role' ELSE 'it' END, count, nspname, first),
    format('REVOKE ALL ON ALL TABLES IN SCHEMA %I FROM %s', nspname,
        CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(me.rolname) END)
    FROM counted, me WHERE count > 3
UNION ALL
SELECT format('%s may %s the column %s of %s', CASE acl.grantee WHEN 0 THEN 'every role' ELSE 'it' END,
        acl.privilege_type, attname, relation.oid::regclass),
    format('REVOKE %s (%I) ON %s FROM %s', acl.privilege_type, attname, relation.oid::regclass,
        CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(me.rolname) END)
    FROM me, relation JOIN pg_catalog.pg_attribute ON attrelid = relation.oid,
        pg_catalog.aclexplode(attacl) acl
    WHERE acl.grantee IN (0, me.oid) AND relowner <> me.oid
UNION ALL
SELECT format('%s may create objects in the schema %s', CASE acl.grantee WHEN 0 THEN 'every role' ELSE 'it' END, nspname),
    format('REVOKE CREATE ON SCHEMA %I FROM %s', nspname,
        CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(me.rolname) END)
    FROM schema, me, pg_catalog.aclexplode(nspacl) acl
    WHERE acl.privilege_type = 'CREATE' AND acl.grantee IN (0, me.oid) AND nspowner <> me.oid
UNION ALL
SELECT format('it may create schemas in the database %s', datname),
    format('REVOKE CREATE ON DATABASE %I FROM %s', datname,
        CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(me.rolname) END)
    FROM pg_catalog.pg_database, me, pg_catalog.aclexplode(datacl) acl
    WHERE datname = current_database() AND acl.privilege_type = 'CREATE'
        AND acl.grantee IN (0, me.oid) AND datdba <> me.oid
UNION ALL
-- A function that runs as its owner gives what its owner has.
SELECT format('it may call %s, which runs as its owner', routine.oid::regprocedure),
    format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC, %I', routine.oid::regprocedure, me.rolname)
    FROM routine, me
    WHERE prosecdef AND proowner <> me.oid AND has_function_privilege(routine.oid, 'EXECUTE')
        AND prorettype <> 'pg_catalog.trigger'::regtype
        AND NOT (nspname = 'portcullis' AND proname IN
            ('find_token', 'find_org_token', 'find_api_key', 'find_project_key'))
UNION ALL
SELECT 'it may write: its transactions are not read only',
    format('ALTER ROLE %I IN DATABASE %I SET default_transaction_read_only = on', rolname, current_database())
    FROM me WHERE NOT rolsuper AND current_setting('default_transaction_read_only') <> 'on'
ORDER BY 1
