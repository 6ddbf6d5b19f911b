//! Values that would not serve, or would be no boundary: the chart refuses each, and says how to mend it.

use super::chart::{CHART, NAMESPACE, RELEASE, helm};
use super::tools::{ROOT, said};

/// Without anything of its own, so that the config is the row's.
fn config(text: &str) -> String {
    let indented: String = text.lines().map(|line| format!("  {line}\n")).collect();
    format!("config: |\n{indented}")
}

const LISTEN: &str =
    "public_url = \"https://sentry-api.example.com\"\n[[listen]]\naddress = \"0.0.0.0:8080\"\n";
const ADMIN: &str = "[admin]\naddress = \"0.0.0.0:9090\"\n";
const WEB: &str = "[upstream.web]\nurls = [\"http://web:9000\"]\n";

const ISSUER: &str = "[[issuer]]\nname = \"ci\"\nissuer = \"https://issuer.example\"";

/// Lets out to this port.
fn egress(port: &str) -> String {
    format!(
        "networkPolicy: {{egress: [{{to: [{{ipBlock: {{cidr: 0.0.0.0/0}}}}], ports: [{port}]}}]}}"
    )
}

/// The example, what goes on top of it, and what must be said.
fn rows() -> Vec<(&'static str, String, &'static str)> {
    let own = |text: &str| config(&format!("{LISTEN}{ADMIN}{WEB}{text}"));
    let web = |yaml: &str| format!("networkPolicy: {{sentry: {{web: {yaml}}}}}");
    // Values are merged, so that labels of the example would stay.
    let bare = |selector: &str| {
        let image = "image: {repository: registry.example.com/portcullis}";
        format!("{image}\n{}{}", own(""), web(&format!("{{podSelector: {selector}}}")))
    };
    vec![
        // What every release needs.
        ("", String::new(), "`image.repository` is empty, and no registry publishes the image"),
        ("", "image: {repository: registry.example.com/portcullis}".into(), "`config` is empty; give the gateway its config: `--set-file config=portcullis.toml`"),
        // The config.
        ("api-beside", config("public_url ="), "; try it with `portcullis check --config portcullis.toml`"),
        ("api-beside", config("public_url = \"https://sentry-api.example.com\""), "`config` has no `[[listen]]`; add one with `address = \"0.0.0.0:8080\"`"),
        ("api-beside", config(&format!("[[listen]]\naddress = \"127.0.0.1:8080\"\n{ADMIN}")), "`listen[0].address` of the config is `127.0.0.1:8080`, where no Service reaches it; write `address = \"0.0.0.0:8080\"`"),
        ("api-beside", config(&format!("[[listen]]\naddress = \"[::1]:8080\"\n{ADMIN}")), "`listen[0].address` of the config is `[::1]:8080`"),
        ("api-beside", config(LISTEN), "the admin listener of the config is at `127.0.0.1:9090`, where kubelet can't ask whether the gateway is ready; write `address = \"0.0.0.0:9090\"` under `[admin]`"),
        ("api-beside", "files: {portcullis.toml: x}".into(), "`files` has a `portcullis.toml`, which is what `config` is written to"),
        // The store.
        ("api-beside", own("[[store]]\nkind = \"portcullis\"\nurl = \"sqlite:///var/lib/portcullis/tokens.db\""), "`store[0]` of the config is a file of SQLite, which would end with its pod; set `persistence.enabled=true`"),
        ("api-beside", "persistence: {enabled: true}".into(), "`persistence.enabled` is for a single pod; set `replicas=1` and `autoscaling.enabled=false`"),
        ("api-beside", "{replicas: 1, autoscaling: {enabled: true}, persistence: {enabled: true}}".into(), "`persistence.enabled` is for a single pod"),
        // Time and room.
        ("api-beside", "terminationGracePeriodSeconds: 29".into(), "`terminationGracePeriodSeconds` is 29, and the gateway takes up to 25 s to end; set it to 30 or more, or shorten `server.drain` in the config"),
        ("api-beside", own("[server]\ndrain = \"1h\""), "`server.drain` of the config is `1h`, which the chart can't read; write it in seconds"),
        ("api-beside", own("[spool]\nbudget = \"1.5GiB\""), "`spool.budget` of the config is `1.5GiB`, which the chart can't read"),
        ("api-beside", own("[spool]\nbudget = \"1280MiB\""), "`spool.sizeLimit` is 1280Mi, and the config lets bodies take 1280MiB of it: a pod that is full is evicted; set `spool.sizeLimit` larger"),
        ("api-beside", "spool: {sizeLimit: 2Gi}".into(), "`resources.limits.ephemeral-storage` is 1536Mi, less than `spool.sizeLimit`, which counts in it; set it larger"),
        ("api-beside", "{autoscaling: {enabled: true}, resources: {requests: {cpu: null}}}".into(), "`autoscaling.enabled` goes by a share of `resources.requests.cpu`, which is not set; set it"),
        // Services and the Ingress.
        ("api-beside", "additionalServices: [{name: internal, listenPort: 8081}]".into(), "`additionalServices` has `internal` for port 8081, and the config listens on 8080; name one of those as `listenPort`"),
        ("api-beside", "additionalServices: [{name: admin, listenPort: 8080}]".into(), "`additionalServices` has an `admin`, as the Service of the admin listener is called"),
        ("api-beside", "ingress: {hosts: []}".into(), "`ingress.enabled` is set, and `ingress.hosts` is empty"),
        ("api-beside", "ingress: {hosts: [{host: sentry.example.com}]}".into(), "`ingress.hosts[0].host` is `sentry.example.com`, which the config does not know and would answer with 421"),
        ("api-beside", "ingress: {hosts: [{host: sentry-api.example.com, paths: [{path: /, service: internal}]}]}".into(), "`ingress.hosts[0]` names the Service `internal`, which is none of `additionalServices`"),
        // Policies: nothing is selected by accident, and nobody let in by accident.
        ("api-beside", web("{podSelector: null}"), "`networkPolicy.sentry.web.podSelector` is empty, so the policy would close every pod of the namespace"),
        ("", bare("{matchLabels: {}}"), "`networkPolicy.sentry.web.podSelector` is empty"),
        ("", bare("{matchExpressions: [{key: role, operator: NotIn, values: [cron]}]}"), "`networkPolicy.sentry.web.podSelector` is empty"),
        ("front-door", "networkPolicy: {sentry: {relay: {podSelector: null}}}".into(), "`networkPolicy.sentry.relay.podSelector` is empty, and the config has `[upstream.relay]`"),
        ("front-door", "networkPolicy: {sentry: {assets: {podSelector: null}}}".into(), "`networkPolicy.sentry.assets.podSelector` is empty, and the config has `[upstream.assets]`"),
        ("api-beside", "networkPolicy: {clients: []}".into(), "`networkPolicy.clients` is empty, so nobody could connect to the gateway"),
        ("api-beside", "networkPolicy: {clients: [{namespaceSelector: {}}]}".into(), "`networkPolicy.clients[0]` selects nothing in particular, so it lets in every pod; select a namespace or pods, or say `ipBlock: {cidr: 0.0.0.0/0}` if everybody is meant"),
        ("api-beside", "networkPolicy: {prometheus: [{podSelector: {}}]}".into(), "`networkPolicy.prometheus[0]` selects nothing in particular"),
        ("api-beside", "networkPolicy: {prometheus: [{ipBlock: {cidr: 0.0.0.0/0}}]}".into(), "`networkPolicy.prometheus` lets `0.0.0.0/0` to the admin listener, which is everybody; name the addresses that need it"),
        ("api-beside", format!("{}networkPolicy: {{verifiers: [{{ipBlock: {{cidr: '::/0'}}}}]}}", own("[assertion]")), "`networkPolicy.verifiers` lets `::/0` to the admin listener, which is everybody"),
        ("api-beside", format!("{}networkPolicy: {{verifiers: [{{podSelector: {{}}}}]}}", own("[assertion]")), "`networkPolicy.verifiers[0]` selects nothing in particular"),
        ("api-beside", "networkPolicy: {verifiers: [{podSelector: {matchLabels: {a: b}}}]}".into(), "`networkPolicy.verifiers` lets somebody to the admin listener for keys, and the config has no `[assertion]`; add it, or delete them"),
        ("api-beside", web("{peers: [{podSelector: {}}]}"), "`networkPolicy.sentry.web.peers[0]` selects nothing in particular, so it lets in every pod; name the pods by `podSelector`"),
        ("api-beside", web("{peers: [{namespaceSelector: {matchLabels: {a: b}}}]}"), "`networkPolicy.sentry.web.peers[0]` selects nothing in particular"),
        ("api-beside", web("{peers: [{ipBlock: {cidr: '::/0'}}]}"), "`networkPolicy.sentry.web.peers[0]` lets in `::/0`, which is everybody; name the addresses that need it"),
        ("front-door", "networkPolicy: {sentry: {relay: {peers: [{podSelector: {}}]}}}".into(), "`networkPolicy.sentry.relay.peers[0]` selects nothing in particular"),
        ("api-beside", "additionalServices: [{name: internal, listenPort: 8080}]".into(), "`additionalServices` has `internal` without `clients`, so nobody could connect to it"),
        ("api-beside", "additionalServices: [{name: internal, listenPort: 8080, clients: [{podSelector: {}}]}]".into(), "`additionalServices.internal.clients[0]` selects nothing in particular"),
        ("api-beside", "networkPolicy: {egress: []}".into(), "the config names `postgres://portcullis@sentry-sentry-postgresql.sentry/sentry`, and `networkPolicy.egress` lets nothing out to it"),
        ("api-beside", format!("{}networkPolicy: {{egress: []}}", own("[traces]\nendpoint = \"http://collector:4318/v1/traces\"")), "the config names `http://collector:4318/v1/traces`, and `networkPolicy.egress` lets nothing out"),
        // The example lets out to the database alone.
        ("api-beside", own(ISSUER), "the issuer `https://issuer.example` of the config is asked for its keys, and `networkPolicy.egress` lets nothing out to port 443; add a rule"),
        ("api-beside", own(&format!("{ISSUER}\njwks_url = \"https://keys.example:8443/a:1\"")), "the issuer `https://keys.example:8443/a:1` of the config is asked for its keys, and `networkPolicy.egress` lets nothing out to port 8443"),
        ("api-beside", format!("{}{}", own(ISSUER), egress("{protocol: UDP, port: 443}")), "lets nothing out to port 443"),
        ("api-beside", format!("{}{}", own(ISSUER), egress("{port: 444, endPort: 500}")), "lets nothing out to port 443"),
        ("api-beside", format!("{}networkPolicy: {{egress: []}}", own("[redis]\nurl = \"redis://redis:6379\"\n[limit.own]\nby = \"client\"\nper_second = 1\nshared = true")), "the config names `redis://redis:6379`, and `networkPolicy.egress` lets nothing out"),
        // What the schema of the values does not know.
        ("api-beside", "replicaCount: 3".into(), "additional properties 'replicaCount' not allowed"),
        ("api-beside", "image: {name: x}".into(), "additional properties 'name' not allowed"),
        ("api-beside", "secrets: {files: {sentry-token: {value: x}}}".into(), "additional properties 'value' not allowed"),
        ("api-beside", "networkPolicy: {clients: [{}]}".into(), "minProperties: got 0, want 1"),
        ("api-beside", "networkPolicy: {egress: [{ports: [{port: 443}]}]}".into(), "missing property 'to'"),
        ("api-beside", "image: {digest: latest}".into(), "does not match pattern"),
    ]
}

#[test]
fn what_would_not_serve_or_would_be_no_boundary_is_refused() {
    for (example, values, wanted) in rows() {
        let words = ["template", RELEASE, CHART, "--namespace", NAMESPACE];
        let output = helm(&words, example, &values);
        let said = said(&output);
        assert!(!output.status.success(), "{values}\nis taken, and {wanted:?} was to be said");
        assert!(said.contains(wanted), "{values}\nshould say {wanted:?}, and says\n{said}");
    }
}

/// What the rows refuse for want of a rule is taken with one, however it has the port.
#[test]
fn an_issuer_that_is_let_out_to_or_is_not_asked_is_taken() {
    let config = |lines: &str| config(&format!("{LISTEN}{ADMIN}{WEB}{ISSUER}{lines}"));
    for (lines, port) in [
        ("", "{port: 443}"),
        ("", "{protocol: TCP, port: 443}"),
        ("", "{port: 440, endPort: 450}"),
        ("", "{port: https}"),
        ("\njwks_url = \"https://keys.example:8443/\"", "{port: 8443}"),
        ("\njwks_file = \"keys.json\"", "{port: 5432}"),
        ("\njwks_url = \"http://127.0.0.1:8000/keys\"", "{port: 5432}"),
    ] {
        let words = ["template", RELEASE, CHART, "--namespace", NAMESPACE];
        let output = helm(&words, "api-beside", &format!("{}{}", config(lines), egress(port)));
        assert!(output.status.success(), "{lines} {port}: {}", said(&output));
    }
}

/// The longest part of a format in a template: between its placeholders.
fn recognisable(line: &str) -> Option<String> {
    let (_, rest) =
        line.split_once("\"portcullis.refuse\" ").or_else(|| line.split_once("fail "))?;
    let text = rest.split_once('"')?.1.replace("\\\"", "\u{1}");
    let text = text.split('"').next()?.replace('\u{1}', "\"").replace("\\n", "");
    let parts = text.split("%s").flat_map(|part| part.split("%d")).map(str::to_owned);
    parts.max_by_key(String::len).filter(|part| !part.trim().is_empty())
}

/// A refusal that no row provokes might never be made.
#[test]
fn every_refusal_of_the_templates_has_a_row() {
    let mut found = 0;
    for file in ["_checks.tpl", "_policy.tpl", "_helpers.tpl"] {
        let path = format!("{ROOT}/{CHART}/templates/{file}");
        let text = std::fs::read_to_string(path).unwrap();
        for refusal in text.lines().filter_map(recognisable) {
            let refusal: String = refusal.chars().take(40).collect();
            let known = rows().iter().any(|(_, _, wanted)| wanted.contains(refusal.trim_end()));
            assert!(known, "{file}: no row provokes {refusal:?}");
            found += 1;
        }
    }
    assert!(found > 20, "{found}");
}
