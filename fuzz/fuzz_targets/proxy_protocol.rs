//! PROXY protocol headers: what follows one changes nothing, and no more is taken than it has.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis::proxy_protocol::{MAX_LEN, parse};

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    for end in 0..bytes.len().min(300) {
        match parse(&bytes[..end]) {
            Ok(None) => {}
            decided => assert_eq!(decided, whole),
        }
    }
    match whole {
        Ok(Some(header)) => {
            assert!(header.len <= bytes.len() && header.len <= MAX_LEN);
            assert_eq!(parse(&bytes[..header.len]), whole);
            assert_eq!(parse(&bytes[..header.len - 1]), Ok(None));
        }
        Ok(None) => assert!(bytes.len() < MAX_LEN),
        Err(_) => {}
    }
});
