//! `Authorization` values: no panic, and nothing of the secret is printed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::policy::credential::Authorization;

fuzz_target!(|value: &[u8]| {
    let parsed = Authorization::parse(value);
    let printed = format!("{parsed:?}");
    let secrets = value.split(|byte| !byte.is_ascii_alphanumeric());
    for secret in secrets.filter(|secret| secret.len() >= 24) {
        let secret = String::from_utf8_lossy(secret);
        assert!(!printed.contains(&*secret), "{printed}");
    }
    // Blanks around a field value are none of it (RFC 9110, 5.5).
    if let Authorization::Credential(credential) = &parsed {
        let padded = [b" \t".as_slice(), value, b" "].concat();
        let Authorization::Credential(same) = Authorization::parse(&padded) else {
            panic!("blanks changed the credential")
        };
        assert_eq!(credential.digest, same.digest);
    }
});
