//! Tables over `Authorization` values, after Sentry's own parsing.

use super::*;

fn basic_value(text: &str) -> Vec<u8> {
    format!("Basic {}", STANDARD.encode(text)).into_bytes()
}

fn digest_of(value: &[u8]) -> Result<Digest, BadCredential> {
    match Authorization::parse(value) {
        Authorization::Credential(credential) => Ok(credential.digest),
        Authorization::Malformed(_, error) => Err(error),
        Authorization::Unrecognized => panic!("unrecognized"),
    }
}

#[test]
fn bearer_in_every_casing_and_spacing() {
    let rows: &[(&[u8], Result<&str, BadCredential>)] = &[
        (b"Bearer abc", Ok("abc")),
        (b"bearer abc", Ok("abc")),
        (b"BEARER abc", Ok("abc")),
        (b"bEaReR \t  abc", Ok("abc")),
        (b"   Bearer    abc   ", Ok("abc")),
        (b"Bearer\tabc", Ok("abc")),
        (b"Bearer a:b/c+d=._~-", Ok("a:b/c+d=._~-")),
        (b"Bearer", Err(BadCredential::Missing)),
        (b"Bearer   ", Err(BadCredential::Missing)),
        (b"Bearer a b", Err(BadCredential::Blanks)),
        (b"Bearer a, Bearer b", Err(BadCredential::Blanks)),
        (b"Bearer a\x0bb", Err(BadCredential::NotVisibleAscii)),
        (b"Bearer \xff", Err(BadCredential::NotVisibleAscii)),
        (b"Bearer abc\x7f", Err(BadCredential::NotVisibleAscii)),
        ("Bearer é".as_bytes(), Err(BadCredential::NotVisibleAscii)),
        (b"Bearer portcullis_t_x", Err(BadCredential::Checksum)),
    ];
    for (value, wanted) in rows {
        assert_eq!(digest_of(value), wanted.map(Digest::of), "{}", value.escape_ascii());
    }
    let long = [b"Bearer ".as_slice(), &[b'a'; MAX_CREDENTIAL_LEN + 1]].concat();
    assert_eq!(digest_of(&long), Err(BadCredential::TooLong));
    assert!(digest_of(&long[..long.len() - 1]).is_ok());
}

#[test]
fn an_organisation_token_is_told_by_its_prefix() {
    for (value, kind) in [
        ("Bearer sntrys_e30=_x", IdentityKind::OrgToken),
        ("Bearer Sntrys_x", IdentityKind::UserToken),
        ("Bearer sntryu_x", IdentityKind::UserToken),
    ] {
        let Authorization::Credential(found) = Authorization::parse(value.as_bytes()) else {
            panic!("{value}")
        };
        assert_eq!(found.kinds, KindSet::EMPTY.with(kind), "{value}");
    }
}

#[test]
fn a_bearer_token_is_told_to_who_issued_it_as_it_was_read() {
    let rows = [
        ("Bearer abc", Some("abc")),
        ("bEaReR \t abc\t ", Some("abc")),
        (" Bearer a:b/c+d=._~-", Some("a:b/c+d=._~-")),
        ("Bearer", None),
        ("Bearer a b", None),
        ("Basic YTo=", None),
        ("DSN https://k@h/2", None),
        ("abc", None),
        ("", None),
    ];
    for (value, wanted) in rows {
        let header = HeaderValue::from_static(value);
        assert_eq!(bearer_token(&header), wanted, "{value:?}");
        let parsed = Authorization::parse(value.as_bytes());
        if let (Some(token), Authorization::Credential(read)) = (wanted, parsed) {
            assert_eq!(read.digest, Digest::of(token), "{value:?}");
        }
    }
}

#[test]
fn what_the_gateway_issues_is_known_by_its_prefix_however_it_comes() {
    let random: Vec<u8> = (0..=255).collect();
    let token = token::mint('t', &random).unwrap();
    let basic = |text: &str| String::from_utf8(basic_value(text)).unwrap();
    let own = [
        format!("Bearer {token}"),
        format!("bearer\t{token}"),
        format!("Bearer {token} "),
        format!("Bearer   {}", &token[..30]),
        "Bearer portcullis_".to_owned(),
        format!("{}\t ", basic(&format!("{token}:"))),
        format!("  {}", basic(&format!("{token}:"))),
        basic(&token),
        basic(&format!("{token}:password")),
        basic("portcullis_k_x:"),
        format!("Token {token}"),
        token.clone(),
        format!("Bearer x{token}"),
        format!("Bearer \"{token}\""),
        format!("Bearer a,{token}"),
        format!("Digest username=\"{token}\", realm=\"a\""),
        basic(":portcullis_"),
        basic(&format!("user:{token}")),
        basic("ab:portcullis_t_x").trim_end_matches('=').to_owned(),
        format!("{},a", basic(&format!("user:{token}"))),
        format!("Basic \"{}\"", &basic(&format!("user:{token}"))[6..]),
        format!("Basic={}", &basic(&format!("user:{token}"))[6..]),
        // The other alphabet: `?` and `>` make it differ.
        basic(&format!("u?>?>:{token}")).replace('+', "-").replace('/', "_"),
    ];
    let foreign = [
        "Bearer sntryu_0123".to_owned(),
        "Bearer Portcullis_t_x".to_owned(),
        // A JWT that speaks of one.
        format!("Bearer aa.{}.bb", &basic("{\"a\":\"portcullis_\"}")[6..].trim_end_matches('=')),
        basic("0123456789abcdef0123456789abcdef:"),
        "Bearer".to_owned(),
        String::new(),
    ];
    for (values, wanted) in [(&own[..], true), (&foreign[..], false)] {
        for value in values {
            let header = HeaderValue::from_str(value).unwrap();
            assert_eq!(is_issued_here(&header), wanted, "{value:?}");
        }
    }
}

#[test]
fn other_schemes_count_as_none() {
    for value in [
        "",
        "   ",
        "Token abc",
        "ApiKey x",
        "abc",
        "Bearer,abc",
        "Bearerabc",
        "rpcsignature rpc0:aa",
    ] {
        let seen = Authorization::parse(value.as_bytes());
        assert_eq!(seen, Authorization::Unrecognized, "{value:?}");
    }
}

#[test]
fn basic_is_a_key_and_an_empty_password() {
    let key = "0123456789abcdef0123456789abcdef";
    let rows: &[(Vec<u8>, Result<&str, BadCredential>)] = &[
        (basic_value(&format!("{key}:")), Ok(key)),
        (basic_value(&format!("{key}:secret")), Err(BadCredential::Password)),
        (basic_value(&format!("{key}::")), Err(BadCredential::Password)),
        (basic_value(key), Err(BadCredential::NotBase64)),
        (basic_value(":"), Err(BadCredential::NoKey)),
        (basic_value("a b:"), Err(BadCredential::NotVisibleAscii)),
        (basic_value("é:"), Err(BadCredential::NotVisibleAscii)),
        (b"Basic !!!".to_vec(), Err(BadCredential::NotBase64)),
        (b"Basic".to_vec(), Err(BadCredential::Missing)),
        (b"basic a b".to_vec(), Err(BadCredential::Blanks)),
        (basic_value("portcullis_k_x:"), Err(BadCredential::Checksum)),
    ];
    for (value, wanted) in rows {
        assert_eq!(digest_of(value), wanted.map(Digest::of), "{}", value.escape_ascii());
    }
}

#[test]
fn a_dsn_is_its_public_key_and_its_project() {
    let key = "9cd363c59c05141f32414694128a7c21";
    let rows: &[(String, Option<u64>)] = &[
        (format!("DSN https://{key}@sentry.example.com/2"), Some(2)),
        (format!("dsn  http://{key}@127.0.0.1:9000/2"), Some(2)),
        (format!("DSN https://{key}:32bcb9d5@h/prefix/42"), Some(42)),
        (format!("DSN https://{key}@h/"), None),
        (format!("DSN https://{key}@h/02"), None),
        (format!("DSN https://{key}@h/2/"), None),
        (format!("DSN https://{key}@h/2?x=3"), None),
        (format!("DSN https://{key}@h/2#3"), None),
        (format!("DSN https://{key}@h/+2"), None),
        (format!("DSN https://{key}@h@i/2"), None),
        (format!("DSN https://{key}@h/99999999999999999999"), None),
        (format!("DSN ftp://{key}@h/2"), None),
        (format!("DSN {key}"), None),
        ("DSN https://@h/2".to_owned(), None),
        ("DSN https://h/2".to_owned(), None),
    ];
    for (value, project) in rows {
        match (Authorization::parse(value.as_bytes()), project) {
            (Authorization::Credential(found), Some(project)) => {
                assert_eq!((found.digest, found.project), (Digest::of(key), Some(*project)));
            }
            (Authorization::Malformed(Scheme::Dsn, BadCredential::NotDsn), None) => {}
            (seen, _) => panic!("{value}: {seen:?}"),
        }
    }
}

#[test]
fn a_secret_prints_nothing() {
    assert_eq!(format!("{:?}", Secret("sntryu_0123")), "Secret(..)");
    let seen = format!("{:?}", Authorization::parse(b"Bearer sntryu_0123456789"));
    assert!(!seen.contains("sntryu"), "{seen}");
}

/// Is for every type, and a second time for those that can be compared: which one is meant is then not to be
/// told, and this does not compile.
trait Incomparable<A> {
    const IS: () = ();
}
impl<T: ?Sized> Incomparable<()> for T {}
impl<T: ?Sized + PartialEq> Incomparable<u8> for T {}

/// AC-087.
#[test]
fn a_secret_is_compared_by_its_digest_alone() {
    const { <Secret<'static> as Incomparable<_>>::IS };
    const { <crate::store::portcullis::admin::IssuedSecret as Incomparable<_>>::IS };
    // What is looked up tells nothing of how much of a guess is right: the first byte wrong, or the last.
    let token = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    let digest = Digest::of(token);
    for guess in [format!("x{}", &token[1..]), format!("{}x", &token[..63])] {
        let seen = Authorization::parse(format!("Bearer {guess}").as_bytes());
        let Authorization::Credential(seen) = seen else { panic!("{seen:?}") };
        assert_eq!(seen.digest, Digest::of(&guess));
        let (seen, own) = (seen.digest.as_bytes(), digest.as_bytes());
        let same = seen.iter().zip(own).filter(|(seen, own)| seen == own).count();
        // Of 32 bytes that are as good as random.
        assert!(same < 8, "{same}");
    }
}
