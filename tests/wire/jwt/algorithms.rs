//! Every algorithm that a config can pin, signed by a key of its type, and against every other one.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
    RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::issuer::{AUDIENCE, now};
use super::{ask, told};
use crate::gate::{Gate, OWN_STORE, Options};
use crate::upstream::Upstream;

/// An algorithm by its name in a header, and the key that signs with it.
const ALGORITHMS: [(&str, &str); 9] = [
    ("RS256", "rsa"),
    ("RS384", "rsa"),
    ("RS512", "rsa"),
    ("PS256", "rsa"),
    ("PS384", "rsa"),
    ("PS512", "rsa"),
    ("ES256", "p256"),
    ("ES384", "p384"),
    ("EdDSA", "ed25519"),
];

/// A key of each type. Their public halves name no algorithm: what they are for is for their type to say.
struct Keys {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

impl Keys {
    fn made() -> Self {
        let words = ["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"];
        let made = Command::new("openssl").args(words).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let rsa = PrivatePkcs8KeyDer::from_pem_slice(&made.stdout).unwrap();
        let random = SystemRandom::new();
        let ecdsa = |algorithm: &'static EcdsaSigningAlgorithm| {
            let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap()
        };
        let document = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
        Self {
            rsa: RsaKeyPair::from_pkcs8(rsa.secret_pkcs8_der()).unwrap(),
            p256: ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING),
            p384: ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING),
            ed25519: Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap(),
        }
    }

    /// The public halves, as an issuer publishes them.
    fn set(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let PublicKeyComponents { n, e } = PublicKeyComponents::<Vec<u8>>::from(self.rsa.public());
        let ec = |pair: &EcdsaKeyPair, curve: &str, kid: &str| {
            let (x, y) =
                pair.public_key().as_ref()[1..].split_at(pair.public_key().as_ref().len() / 2);
            json!({"kty": "EC", "crv": curve, "kid": kid, "x": text(x), "y": text(y)})
        };
        let x = text(self.ed25519.public_key().as_ref());
        json!({ "keys": [
            {"kty": "RSA", "kid": "rsa", "n": text(&n), "e": text(&e)},
            ec(&self.p256, "P-256", "p256"),
            ec(&self.p384, "P-384", "p384"),
            {"kty": "OKP", "crv": "Ed25519", "kid": "ed25519", "x": x},
        ]})
    }

    /// A signature that is made by this algorithm.
    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let rsa = |padding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; self.rsa.public().modulus_len()];
            self.rsa.sign(padding, &random, message, &mut signature).unwrap();
            signature
        };
        match algorithm {
            "RS256" => rsa(&RSA_PKCS1_SHA256),
            "RS384" => rsa(&RSA_PKCS1_SHA384),
            "RS512" => rsa(&RSA_PKCS1_SHA512),
            "PS256" => rsa(&RSA_PSS_SHA256),
            "PS384" => rsa(&RSA_PSS_SHA384),
            "PS512" => rsa(&RSA_PSS_SHA512),
            "ES256" => self.p256.sign(&random, message).unwrap().as_ref().to_vec(),
            "ES384" => self.p384.sign(&random, message).unwrap().as_ref().to_vec(),
            "EdDSA" => self.ed25519.sign(message).as_ref().to_vec(),
            other => panic!("{other}"),
        }
    }

    /// A token of the issuer of this name, signed by `made`, that says that it is signed by `said`.
    fn token(&self, issuer: &str, made: &str, said: &str, kid: Option<&str>) -> String {
        let mut header = json!({"alg": said, "typ": "JWT"});
        if let Some(kid) = kid {
            header["kid"] = kid.into();
        }
        let claims = json!({
            "iss": url(issuer), "aud": AUDIENCE, "sub": "job", "repository": "acme/web",
            "exp": now() + 3600,
        });
        let message = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let message = message.join(".");
        let signature = URL_SAFE_NO_PAD.encode(self.sign(made, message.as_bytes()));
        format!("{message}.{signature}")
    }
}

fn url(issuer: &str) -> String {
    format!("https://{issuer}.example")
}

/// Trusts an issuer of this name for these algorithms, with the keys of the test.
fn table(name: &str, algorithms: &[&str]) -> String {
    format!(
        "[[issuer]]\nname = \"{name}\"\nissuer = \"{}\"\naudiences = [\"{AUDIENCE}\"]\n\
         algorithms = {algorithms:?}\njwks_file = \"keys.json\"\n\
         [[issuer.trust]]\nclaims = {{ repository = \"acme/web\" }}\nscopes = [\"event:read\"]\n",
        url(name)
    )
}

fn gate(set: &Value, tables: &str) -> Gate {
    let files = vec![("keys.json".to_owned(), set.to_string())];
    let tables = format!("{OWN_STORE}{tables}");
    let options = Options { stores: Some(String::new()), tables, files, ..Options::default() };
    Gate::with(Upstream::start(), &options)
}

fn is(gate: &Gate, token: &str, let_in: bool, what: &str) {
    let wanted = if let_in { (200, "") } else { (401, "unknown_token") };
    assert_eq!(told(&ask(gate, token)), (wanted.0, wanted.1.to_owned()), "{what}");
    assert_eq!(gate.upstream.take().len(), usize::from(let_in), "{what}");
}

/// What is signed well is refused all the same where its algorithm is not one of the issuer's.
#[test]
fn an_issuer_is_believed_by_the_algorithm_that_is_pinned_for_it_alone() {
    let keys = Keys::made();
    let name = |algorithm: &str| algorithm.to_ascii_lowercase();
    let tables = ALGORITHMS.map(|(pinned, _)| table(&name(pinned), &[pinned]));
    let gate = gate(&keys.set(), &tables.concat());
    for (pinned, _) in ALGORITHMS {
        for (used, kid) in ALGORITHMS {
            let token = keys.token(&name(pinned), used, used, Some(kid));
            is(&gate, &token, pinned == used, &format!("{used} where {pinned} is pinned"));
        }
    }
}

/// With all of them pinned, the type of the key decides, and then the signature.
#[test]
fn a_key_verifies_what_it_signed_as_it_says_and_nothing_else() {
    let keys = Keys::made();
    let gate = gate(&keys.set(), &table("all", &ALGORITHMS.map(|(name, _)| name)));
    for (made, kid) in ALGORITHMS {
        for (said, other) in ALGORITHMS {
            let what = format!("of {kid}, signed by {made} and said to be by {said}");
            is(&gate, &keys.token("all", made, said, Some(kid)), made == said, &what);
            // The key that it would have to be of: which does not verify it.
            if other != kid {
                let what = format!("{what}, named as {other}");
                is(&gate, &keys.token("all", made, said, Some(other)), false, &what);
            }
        }
        // Of each type there is one key, so it need not be named.
        is(&gate, &keys.token("all", made, made, None), true, made);
    }
}

/// A key of RSA takes six of them, but where it is published for one.
#[test]
fn a_key_that_is_published_for_one_algorithm_takes_no_other() {
    let keys = Keys::made();
    let mut set = keys.set();
    set["keys"][0]["alg"] = "PS384".into();
    let gate = gate(&set, &table("all", &ALGORITHMS.map(|(name, _)| name)));
    for (used, kid) in ALGORITHMS {
        let let_in = kid != "rsa" || used == "PS384";
        for kid in [Some(kid), None] {
            is(&gate, &keys.token("all", used, used, kid), let_in, &format!("{used} {kid:?}"));
        }
    }
}
