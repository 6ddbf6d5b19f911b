//! Issuers of JWTs and their trust policies: every way to get one wrong, and what is said about it.

use super::*;
use crate::store::jwt::{JwksAuthorization, KeySource, Trust, Wanted};

/// An issuer of which a line can be replaced, and a policy.
const ISSUER: &str = r#"
[[issuer]]
name = "ci"
issuer = "https://issuer.example"
audiences = ["sentry"]
algorithms = ["ES256"]
"#;
const TRUST: &str = r#"
[[issuer.trust]]
claims = { repository = "acme/web" }
scopes = ["org:ci"]
"#;
const KEYS: &str = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519",
    "x": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE"}]}"#;

/// What is there beside the config: each file is wrong in its own way, but for the first.
fn source() -> Fake {
    let mut fake = fake();
    let many = format!("{{\"keys\": [{}null]}}", "null, ".repeat(64));
    for (name, text) in [
        ("keys.json", KEYS),
        ("no-set.json", "[]"),
        ("many.json", &many),
        ("no-keys.json", r#"{"keys": [{"kty": "oct", "k": "AAAA"}]}"#),
        ("empty", ""),
        ("two-lines", "a token\nand more"),
        ("no.pem", "no certificate"),
        ("bad.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    ] {
        fake.files.insert(name.into(), text.into());
    }
    fake.env.insert("TOKEN".into(), "a-token".into());
    fake
}

/// The minimal config with an issuer.
fn with(issuer: &str, trust: &str) -> String {
    format!("{MINIMAL}{issuer}{trust}")
}

/// With these lines beside the others.
fn more(lines: &str) -> String {
    with(&format!("{ISSUER}{lines}\n"), TRUST)
}

/// With this line in place of the one that has the same key.
fn instead(text: &str, line: &str) -> String {
    let key = line.split_once(" =").unwrap().0;
    let is_own = |own: &str| own.strip_prefix(key).is_some_and(|rest| rest.starts_with(" ="));
    let lines = text.lines().map(|own| if is_own(own) { line } else { own });
    let changed = lines.collect::<Vec<_>>().join("\n") + "\n";
    assert_ne!(changed, text, "{line}");
    changed
}

#[test]
fn every_problem_of_an_issuer_is_said() {
    let issuer = |line: &str| with(&instead(ISSUER, line), TRUST);
    let long = format!("name = \"{}\"", "x".repeat(65));
    let rows = [
        (issuer("name = \"\""), "name", "is not a name"),
        (issuer("name = \"a b\""), "name", "is not a name"),
        (issuer("name = \"a:b\""), "name", "is not a name"),
        (issuer(&long), "name", "is not a name"),
        (issuer("issuer = \"\""), "issuer", "is empty"),
        (issuer("audiences = []"), "audiences", "names nobody"),
        (issuer("audiences = [\"sentry\", \"\"]"), "audiences", "names nobody"),
        (issuer("algorithms = []"), "algorithms", "is empty"),
        (issuer("algorithms = [\"ES256\", \"HS256\"]"), "algorithms", "`HS256` is not taken"),
        (issuer("algorithms = [\"none\"]"), "algorithms", "`none` is not taken"),
        (issuer("algorithms = [\"es256\"]"), "algorithms", "`es256` is not taken"),
        (more("clock_skew = \"5m 1s\""), "clock_skew", "is more than 5 minutes"),
        (more("max_token_size = \"0B\""), "max_token_size", "is 0 or more than 16KiB"),
        (more("max_token_size = \"16385B\""), "max_token_size", "is 0 or more than 16KiB"),
        (more("refresh = \"999ms\""), "refresh", "is less than a second"),
        (more("cooldown = \"0s\""), "cooldown", "is less than a second"),
        (with(ISSUER, ""), "trust", "there is none"),
        // Where the keys are.
        (
            more("jwks_file = \"keys.json\"\njwks_url = \"https://issuer.example/keys\""),
            "jwks_file",
            "and `jwks_url` are two places",
        ),
        (more("jwks_file = \"gone.json\""), "jwks_file", "`gone.json` can't be read"),
        (more("jwks_file = \"no-set.json\""), "jwks_file", "`no-set.json` is no JWK set"),
        (more("jwks_file = \"many.json\""), "jwks_file", "`many.json` has more than 64 keys"),
        (more("jwks_file = \"no-keys.json\""), "jwks_file", "has no key that can be used"),
        (more("jwks_url = \"http://issuer.example/keys\""), "jwks_url", "is not a URL that keys"),
        (more("jwks_url = \"https://me:pa55word@issuer.example/\""), "jwks_url", "is not a URL"),
        (more("jwks_url = \"keys.json\""), "jwks_url", "is not a URL that keys"),
        (issuer("issuer = \"http://issuer.example\""), "issuer", "is not a URL that keys"),
        (issuer("issuer = \"https://me:pa55word@issuer.example\""), "issuer", "is not a URL"),
        (
            issuer("issuer = \"https://issuer.example?tenant=1\""),
            "issuer",
            "has a query or a fragment",
        ),
        (issuer("issuer = \"https://issuer.example#1\""), "issuer", "has a query or a fragment"),
        (issuer("issuer = \"accounts\""), "issuer", "is not a URL that keys"),
        // What is presented for them, and whose certificates are believed.
        (
            more("authorization = { env = \"TOKEN\" }"),
            "authorization",
            "is sent to `jwks_url` alone",
        ),
        (
            more("jwks_file = \"keys.json\"\nauthorization = { env = \"TOKEN\" }"),
            "authorization",
            "is sent to `jwks_url` alone",
        ),
        (asked("{ file = \"gone\" }"), "authorization", "`gone` can't be read"),
        (asked("{ file = \"empty\" }"), "authorization", "is empty or not a token"),
        (asked("{ file = \"two-lines\" }"), "authorization", "is empty or not a token"),
        (asked("{ env = \"GONE\" }"), "authorization", "the environment has no `GONE`"),
        (
            asked("{ env = \"TOKEN\", file = \"x\" }"),
            "authorization",
            "either a file or a variable",
        ),
        (more("ca_file = \"gone.pem\""), "ca_file", "`gone.pem` can't be read"),
        (more("ca_file = \"no.pem\""), "ca_file", "`no.pem` holds no certificate in PEM"),
        (more("ca_file = \"bad.pem\""), "ca_file", "`bad.pem` holds a certificate that can't be"),
    ];
    for (text, key, what) in rows {
        let seen = problem(&text, &source());
        assert_eq!(seen.at, format!("issuer[0].{key}"), "{text}: {seen:?}");
        assert!(seen.what.contains(what), "{text}: {seen:?}");
        assert!(!seen.help.is_empty(), "{text}");
        assert!(!format!("{seen:?}").contains("pa55word"), "{seen:?}");
    }
}

/// With something that is presented where the keys are.
fn asked(secret: &str) -> String {
    more(&format!("jwks_url = \"https://issuer.example/keys\"\nauthorization = {secret}"))
}

#[test]
fn two_issuers_are_two_and_neither_is_a_store() {
    let other = |from: &str, to: &str| ISSUER.replace(from, to);
    let both = |second: &str| with(&format!("{ISSUER}{TRUST}{second}"), TRUST);
    let renamed = other("\"ci\"", "\"other\"");
    let rows = [
        (both(&renamed), "issuer[1].issuer", "`https://issuer.example` is there twice"),
        (both(&other("issuer.example", "other.example")), "issuer[1].name", "`ci` is taken"),
        (with(&other("\"ci\"", "\"portcullis\""), TRUST), "store[0].name", "`portcullis` is taken"),
        (
            with(ISSUER, TRUST).replace("credential = { file = \"sentry-token\" }", ""),
            "upstream.web.credential",
            "is missing, and tokens of",
        ),
    ];
    for (text, at, what) in rows {
        let seen = problem(&text, &source());
        assert_eq!(seen.at, at, "{text}: {seen:?}");
        assert!(seen.what.contains(what), "{text}: {seen:?}");
    }
    // `/` at the end makes another issuer, as `iss` is compared byte for byte.
    let second = renamed.replace("issuer.example", "issuer.example/");
    assert_eq!(parse(&both(&second), &source()).unwrap().stores.len(), 3);
}

#[test]
fn every_problem_of_a_trust_policy_is_said() {
    let claims = |text: &str| instead(TRUST, &format!("claims = {text}"));
    let more = |line: &str| format!("{TRUST}{line}\n");
    let rows = [
        (claims("{}"), "claims", "is empty, so everybody whom the issuer knows"),
        (claims("{ a = {} }"), "claims.a", "is an empty table"),
        (claims("{ a = { b = {} } }"), "claims.a.b", "is an empty table"),
        (claims("{ a = [] }"), "claims.a", "is an empty list"),
        (claims("{ a = 1.5 }"), "claims.a", "is neither a text nor a whole number nor a truth"),
        (claims("{ a = 2026-11-28 }"), "claims.a", "is neither a text"),
        (claims("{ a = [[\"b\"]] }"), "claims.a", "is neither a text"),
        (claims("{ a = [{ b = \"c\" }] }"), "claims.a", "is neither a text"),
        (claims("{ a = \"\" }"), "claims.a", "has nothing to compare with"),
        (claims("{ a = \"*\" }"), "claims.a", "has nothing to compare with"),
        (claims("{ a = [\"b\", \"*/*\"] }"), "claims.a", "has nothing to compare with"),
        (claims("{ a = \"acme/**\" }"), "claims.a", "has `**`"),
        (instead(TRUST, "scopes = [\"org:fly\"]"), "scopes", "unknown scope `org:fly`"),
        (instead(TRUST, "scopes = []"), "scopes", "is empty, so nothing is given"),
        (more("scopes_claim = \"\""), "scopes_claim", "is empty, so nothing would be given"),
        (more("organizations = []"), "organizations", "is empty, or has an empty name"),
        (more("organizations = [\"\"]"), "organizations", "is empty, or has an empty name"),
        (more("projects = []"), "projects", "is empty, or has an empty name"),
        (more("projects = [\"web\"]"), "projects", "has a slug, which may get another owner"),
        (more("networks = [\"10.0.0.0/33\"]"), "networks[0]", "`10.0.0.0/33` is not a network"),
        (more("profile = \"nobody\""), "profile", "nobody"),
        (more("groups = [\"none\"]"), "groups", "there is no group `none`"),
    ];
    for (trust, key, what) in rows {
        let seen = problem(&with(ISSUER, &trust), &source());
        assert_eq!(seen.at, format!("issuer[0].trust[0].{key}"), "{trust}: {seen:?}");
        assert!(seen.what.contains(what), "{trust}: {seen:?}");
        assert!(!seen.help.is_empty(), "{trust}");
    }
}

#[test]
fn what_is_not_known_of_an_issuer_is_an_error_and_so_is_what_is_missing() {
    let without = |key: &str| -> String {
        let text = with(ISSUER, TRUST);
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with(key)).collect();
        lines.join("\n")
    };
    let rows = [
        (more("jwks = \"x\""), "unknown field `jwks`"),
        (with(ISSUER, &format!("{TRUST}claim = \"x\"")), "unknown field `claim`"),
        (without("name ="), "missing field `name`"),
        (without("issuer ="), "missing field `issuer`"),
        (without("audiences ="), "missing field `audiences`"),
        (without("algorithms ="), "missing field `algorithms`"),
        (without("claims ="), "missing field `claims`"),
        (without("scopes ="), "missing field `scopes`"),
    ];
    for (text, what) in rows {
        let seen = problem(&text, &source());
        assert!(seen.what.contains(what), "{text}: {seen:?}");
    }
}

#[test]
fn what_is_left_out_of_an_issuer_has_a_default() {
    let settings = |text: &str| match &parse(text, &source()).unwrap().stores[0].kind {
        StoreKind::Jwt(own) => (**own).clone(),
        other => panic!("{other:?}"),
    };
    let seconds = Duration::from_secs;
    let one = settings(&with(ISSUER, TRUST));
    assert_eq!((one.clock_skew, one.max_token_size), (seconds(30), 8 << 10));
    let refresh = one.refresh;
    assert_eq!((refresh.every, refresh.cooldown), (seconds(300), seconds(30)));
    assert_eq!(refresh.stale_if_error, seconds(24 * 60 * 60));
    let document = "https://issuer.example/.well-known/openid-configuration";
    assert_eq!(one.keys, KeySource::Discovery(document.parse().unwrap()));
    let slash = with(&ISSUER.replace("issuer.example", "issuer.example/"), TRUST);
    assert_eq!(settings(&slash).keys, KeySource::Discovery(document.parse().unwrap()));
    let file = settings(&more("jwks_file = \"keys.json\""));
    assert_eq!((file.refresh.every, file.refresh.cooldown), (seconds(5), seconds(1)));
    assert_eq!(file.keys, KeySource::File("gw/keys.json".into()));
    // From a file it is read anew, from the environment it stays.
    let KeySource::Url(_, Some(JwksAuthorization::File(path))) =
        settings(&asked("{ file = \"sentry-token\" }")).keys
    else {
        panic!("no file")
    };
    assert_eq!(path, Path::new("gw/sentry-token"));
    let KeySource::Url(_, Some(JwksAuthorization::Fixed(value))) =
        settings(&asked("{ env = \"TOKEN\" }")).keys
    else {
        panic!("no token")
    };
    assert!(value == "Bearer a-token" && value.is_sensitive());
    // Each claim is a condition, and what is inside one is reached by its names.
    let trust = "{ a = \"b\", \"k.io\" = { ns = [\"ci\", 7, true] } }";
    let trust = instead(TRUST, &format!("claims = {trust}"));
    let [Trust { conditions, .. }] = &settings(&with(ISSUER, &trust)).trust[..] else { panic!() };
    let paths: Vec<_> = conditions.iter().map(|one| one.path.join("/")).collect();
    assert_eq!(paths, ["a", "k.io/ns"]);
    let [Wanted::Text(_), Wanted::Exactly(seven), Wanted::Exactly(truth)] =
        &conditions[1].any_of[..]
    else {
        panic!("{conditions:?}")
    };
    assert!(*seven == 7 && *truth == true);
}
