-- The tables of a real Sentry 24.5 that hold credentials, without their foreign keys.

CREATE TABLE public.sentry_apitoken (
    id bigint PRIMARY KEY,
    scopes bigint NOT NULL,
    scope_list text[],
    token character varying(71) NOT NULL,
    refresh_token character varying(71),
    expires_at timestamp with time zone,
    date_added timestamp with time zone NOT NULL,
    application_id bigint,
    user_id bigint NOT NULL,
    name character varying(255),
    token_last_characters character varying(4),
    hashed_refresh_token character varying(128),
    hashed_token character varying(128),
    token_type character varying(7),
    UNIQUE (hashed_refresh_token),
    UNIQUE (hashed_token),
    UNIQUE (refresh_token),
    UNIQUE (token)
);

CREATE TABLE public.sentry_apikey (
    id bigint PRIMARY KEY,
    organization_id bigint NOT NULL,
    label character varying(64) NOT NULL,
    key character varying(32) NOT NULL,
    scopes bigint NOT NULL,
    scope_list text[],
    status integer NOT NULL,
    date_added timestamp with time zone NOT NULL,
    allowed_origins text,
    UNIQUE (key)
);

CREATE TABLE public.sentry_projectkey (
    id bigint PRIMARY KEY,
    label character varying(64),
    public_key character varying(32),
    secret_key character varying(32),
    roles bigint NOT NULL,
    status integer NOT NULL,
    date_added timestamp with time zone,
    rate_limit_count integer,
    rate_limit_window integer,
    data text NOT NULL,
    project_id bigint NOT NULL,
    use_case character varying(32) NOT NULL DEFAULT 'user'::character varying,
    UNIQUE (public_key),
    UNIQUE (secret_key)
);

CREATE TABLE public.sentry_project (
    id bigint PRIMARY KEY,
    slug character varying(50),
    name character varying(200) NOT NULL,
    forced_color character varying(6),
    public boolean NOT NULL,
    date_added timestamp with time zone NOT NULL,
    status integer NOT NULL,
    first_event timestamp with time zone,
    flags bigint,
    platform character varying(64),
    organization_id bigint NOT NULL
);

CREATE TABLE public.sentry_organization (
    id bigint PRIMARY KEY,
    name character varying(64) NOT NULL,
    slug character varying(50) NOT NULL,
    status integer NOT NULL,
    date_added timestamp with time zone NOT NULL,
    default_role character varying(32) NOT NULL,
    flags bigint NOT NULL,
    is_test boolean NOT NULL DEFAULT false,
    UNIQUE (slug)
);

CREATE TABLE public.sentry_orgauthtoken (
    id bigint PRIMARY KEY,
    organization_id bigint NOT NULL,
    token_hashed text NOT NULL,
    token_last_characters character varying(4),
    name character varying(255) NOT NULL,
    scope_list text[],
    date_added timestamp with time zone NOT NULL,
    date_last_used timestamp with time zone,
    project_last_used_id bigint,
    date_deactivated timestamp with time zone,
    created_by_id integer,
    UNIQUE (token_hashed)
);

CREATE TABLE public.sentry_apiapplication (
    id bigint PRIMARY KEY,
    client_id character varying(64) NOT NULL,
    client_secret text NOT NULL,
    name character varying(64) NOT NULL,
    status integer NOT NULL,
    allowed_origins text,
    redirect_uris text NOT NULL,
    homepage_url character varying(200),
    privacy_url character varying(200),
    terms_url character varying(200),
    date_added timestamp with time zone NOT NULL,
    owner_id bigint,
    UNIQUE (client_id)
);

CREATE TABLE public.sentry_sentryapp (
    id bigint PRIMARY KEY,
    date_deleted timestamp with time zone,
    scopes bigint NOT NULL,
    scope_list text[],
    name text NOT NULL,
    slug character varying(64) NOT NULL,
    author text,
    status integer NOT NULL,
    uuid character varying(64) NOT NULL,
    redirect_url character varying(200),
    webhook_url character varying(512),
    is_alertable boolean NOT NULL,
    events text[],
    overview text,
    schema text NOT NULL,
    date_added timestamp with time zone NOT NULL,
    date_updated timestamp with time zone NOT NULL,
    application_id bigint,
    owner_id bigint NOT NULL,
    proxy_user_id bigint,
    verify_install boolean NOT NULL,
    date_published timestamp with time zone,
    creator_label text,
    creator_user_id bigint,
    popularity smallint,
    metadata json NOT NULL DEFAULT '{}'::json,
    UNIQUE (application_id),
    UNIQUE (proxy_user_id),
    UNIQUE (slug)
);

CREATE TABLE public.sentry_sentryappinstallation (
    id bigint PRIMARY KEY,
    date_deleted timestamp with time zone,
    uuid character varying(64) NOT NULL,
    date_added timestamp with time zone NOT NULL,
    date_updated timestamp with time zone NOT NULL,
    api_grant_id bigint,
    organization_id bigint NOT NULL,
    sentry_app_id bigint NOT NULL,
    api_token_id bigint,
    status integer NOT NULL,
    UNIQUE (api_grant_id),
    UNIQUE (api_token_id)
);

CREATE TABLE public.sentry_sentryappinstallationtoken (
    id bigint PRIMARY KEY,
    api_token_id bigint NOT NULL,
    sentry_app_installation_id bigint NOT NULL
);

CREATE TABLE public.auth_user (
    id bigint PRIMARY KEY,
    password character varying(128) NOT NULL,
    last_login timestamp with time zone,
    username character varying(128) NOT NULL,
    first_name character varying(200) NOT NULL,
    email character varying(75) NOT NULL,
    is_staff boolean NOT NULL,
    is_active boolean NOT NULL,
    is_superuser boolean NOT NULL,
    is_managed boolean NOT NULL,
    is_sentry_app boolean,
    is_password_expired boolean NOT NULL,
    last_password_change timestamp with time zone,
    flags bigint,
    session_nonce character varying(12),
    date_joined timestamp with time zone NOT NULL,
    last_active timestamp with time zone,
    avatar_type smallint NOT NULL DEFAULT 0,
    avatar_url character varying(120) DEFAULT NULL::character varying,
    is_unclaimed boolean NOT NULL DEFAULT false,
    UNIQUE (username)
);
