//! What the environment says of the machine.

use super::*;

#[test]
fn certificates_of_the_machine_that_are_not_there_are_a_problem() {
    // What is set, and what is said to be wrong.
    let rows: &[(&[(&str, &str)], &[&str])] = &[
        (&[], &[]),
        (&[("SSL_CERT_FILE", "/etc/ca.pem")], &[]),
        (&[("SSL_CERT_FILE", "/gone.pem")], &["SSL_CERT_FILE"]),
        (&[("SSL_CERT_DIR", "/gone")], &["SSL_CERT_DIR"]),
        // One of them is enough.
        (&[("SSL_CERT_FILE", "/etc/ca.pem"), ("SSL_CERT_DIR", "/gone")], &[]),
        (
            &[("SSL_CERT_FILE", "/gone.pem"), ("SSL_CERT_DIR", "/gone")],
            &["SSL_CERT_FILE", "SSL_CERT_DIR"],
        ),
    ];
    for (environment, wrong) in rows {
        let mut fake = fake();
        fake.files.insert("ca.pem".into(), String::new());
        let own = environment.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        fake.env.extend(own);
        let problems = parse(MINIMAL, &fake).map_or_else(|error| error.problems, |_| Vec::new());
        let seen: Vec<_> = problems.iter().map(|problem| &*problem.at).collect();
        assert_eq!(seen, *wrong, "{environment:?}");
    }
}
