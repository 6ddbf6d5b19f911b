//! The table of values that the chart is tried with. A case is a row; every test of the chart takes all of them.

/// Values, and what must come of them.
pub struct Case {
    pub name: &'static str,
    /// The example that they go on top of.
    pub example: &'static str,
    pub values: &'static str,
    /// Objects that must be there, and that must not.
    pub with: &'static [&'static str],
    pub without: &'static [&'static str],
    /// Fields: the object, a JSON pointer, and the JSON that must be there; `null` is nothing.
    pub fields: &'static [(&'static str, &'static str, &'static str)],
}

const PLAIN: Case =
    Case { name: "", example: "api-beside", values: "", with: &[], without: &[], fields: &[] };

const POD: &str = "Deployment/gw";

/// One pod with a store in SQLite.
const SQLITE: &str = r#"
replicas: 1
persistence: {enabled: true, size: 2Gi, storageClassName: fast}
networkPolicy: {egress: []}
config: |
  public_url = "https://sentry-api.example.com"
  [[listen]]
  address = "0.0.0.0:8080"
  [admin]
  address = "0.0.0.0:9090"
  [upstream.web]
  urls = ["http://sentry-web.sentry:9000"]
  credential = { file = "/run/secrets/sentry-token" }
  [[store]]
  kind = "portcullis"
  url = "sqlite:///var/lib/portcullis/tokens.db"
  [server]
  stop_delay = "1500ms"
  drain = "1m 30s"
"#;

/// A listener for the Internet, and one for the network inside.
const TWO_LISTENERS: &str = r#"
additionalServices:
  - name: internal
    listenPort: 8443
    port: 443
    clients: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: vpn}}}]
ingress:
  hosts:
    - host: sentry-api.example.com
      paths: [{path: /}, {path: /api/0/, service: internal}]
secrets:
  files:
    tls.crt: {secret: sentry-tls, key: tls.crt}
    tls.key: {secret: sentry-tls, key: tls.key}
config: |
  public_url = "https://sentry-api.example.com"
  [[listen]]
  address = "[::]:8081"
  expose = ["ingest", "webhooks"]
  [[listen]]
  address = "0.0.0.0:8443"
  tls = { certificates = [{ certificate = "/run/secrets/tls.crt", key = "/run/secrets/tls.key" }] }
  [admin]
  address = "0.0.0.0:9191"
  [upstream.web]
  urls = ["http://sentry-web.sentry:9000"]
  [upstream.relay]
  urls = ["http://sentry-relay.sentry:3000"]
  [[store]]
  kind = "introspection"
  url = "http://sentry-web.sentry:9000/api/0/"
  [spool]
  folder = "/var/spool/portcullis"
  budget = "1GB"
networkPolicy:
  egress: []
  sentry:
    relay:
      podSelector: {matchExpressions: [{key: role, operator: In, values: [relay]}]}
      peers: [{podSelector: {matchLabels: {app.kubernetes.io/name: nginx}}}]
"#;

/// JWTs of an issuer are taken, and assertions are made.
const VOUCHED: &str = r#"
config: |
  public_url = "https://sentry-api.example.com"
  [[listen]]
  address = "0.0.0.0:8080"
  [admin]
  address = "0.0.0.0:9090"
  [upstream.web]
  urls = ["http://sentry-web.sentry:9000"]
  credential = { file = "/run/secrets/sentry-token" }
  [assertion]
  ttl = "30s"
  [[issuer]]
  name = "ci"
  issuer = "https://issuer.example"
  audiences = ["https://sentry-api.example.com"]
  algorithms = ["RS256"]
  [[issuer.trust]]
  claims = { repository_id = "74" }
  scopes = ["project:releases"]
networkPolicy:
  verifiers:
    - podSelector: {matchLabels: {app.kubernetes.io/name: nginx}}
      namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: sentry}}
  egress:
    - to: [{ipBlock: {cidr: 0.0.0.0/0, except: [10.0.0.0/8]}}]
      ports: [{protocol: TCP, port: 443}]
"#;

pub fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "the API beside the pages",
            with: &[
                POD,
                "ConfigMap/gw",
                "Ingress/gw",
                "NetworkPolicy/gw",
                "NetworkPolicy/gw-sentry-web",
                "PodDisruptionBudget/gw",
                "Service/gw",
                "Service/gw-admin",
                "ServiceAccount/gw",
            ],
            without: &[
                "HorizontalPodAutoscaler/gw",
                "NetworkPolicy/gw-sentry-relay",
                "PersistentVolumeClaim/gw",
                "PrometheusRule/gw",
                "ServiceMonitor/gw",
            ],
            fields: &[
                (POD, "/spec/replicas", "2"),
                (POD, "/spec/template/spec/terminationGracePeriodSeconds", "40"),
                (POD, "/spec/template/spec/automountServiceAccountToken", "false"),
                (POD, "/spec/template/spec/securityContext/runAsNonRoot", "true"),
                (POD, "/spec/template/spec/securityContext/runAsUser", "65532"),
                (POD, "/spec/template/spec/securityContext/seccompProfile/type", r#""RuntimeDefault""#),
                (
                    POD,
                    "/spec/template/spec/containers/0/securityContext",
                    r#"{"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]},
                        "privileged": false, "readOnlyRootFilesystem": true}"#,
                ),
                (
                    POD,
                    "/spec/template/spec/containers/0/image",
                    concat!("\"registry.example.com/portcullis:", env!("CARGO_PKG_VERSION"), "\""),
                ),
                (POD, "/spec/template/spec/containers/0/env", "null"),
                (POD, "/spec/template/spec/containers/0/envFrom", "null"),
                ("ServiceAccount/gw", "/automountServiceAccountToken", "false"),
                ("Ingress/gw", "/spec/tls/0/secretName", r#""sentry-api-tls""#),
                ("Service/gw", "/spec/type", r#""ClusterIP""#),
            ],
            ..PLAIN
        },
        Case {
            name: "the front door",
            example: "front-door",
            with: &["NetworkPolicy/gw-sentry-web", "NetworkPolicy/gw-sentry-relay"],
            ..PLAIN
        },
        Case {
            name: "scaled by load",
            values: "{autoscaling: {enabled: true, maxReplicas: 9, behavior: {scaleDown: {stabilizationWindowSeconds: 600}}}}",
            with: &["HorizontalPodAutoscaler/gw"],
            fields: &[
                // Whoever scales it would have its number undone by the next upgrade.
                (POD, "/spec/replicas", "null"),
                ("HorizontalPodAutoscaler/gw", "/spec/maxReplicas", "9"),
                ("HorizontalPodAutoscaler/gw", "/spec/behavior/scaleDown/stabilizationWindowSeconds", "600"),
            ],
            ..PLAIN
        },
        Case {
            name: "five replicas, no budget for disruptions",
            values: "{replicas: 5, podDisruptionBudget: {enabled: false}}",
            without: &["PodDisruptionBudget/gw"],
            fields: &[(POD, "/spec/replicas", "5")],
            ..PLAIN
        },
        Case {
            name: "no policies, no Ingress",
            values: "{networkPolicy: {enabled: false}, ingress: {enabled: false}}",
            without: &["NetworkPolicy/gw", "NetworkPolicy/gw-sentry-web", "Ingress/gw"],
            ..PLAIN
        },
        Case {
            name: "monitored",
            values: "{serviceMonitor: {enabled: true, labels: {release: prometheus}, interval: 30s},
                      prometheusRule: {enabled: true, labels: {release: prometheus}, runbookBase: 'https://wiki.example.com/portcullis/'}}",
            with: &["ServiceMonitor/gw", "PrometheusRule/gw"],
            fields: &[
                ("ServiceMonitor/gw", "/metadata/labels/release", r#""prometheus""#),
                ("ServiceMonitor/gw", "/spec/endpoints/0/interval", r#""30s""#),
                ("PrometheusRule/gw", "/metadata/labels/release", r#""prometheus""#),
            ],
            ..PLAIN
        },
        Case {
            name: "one pod with a file of SQLite",
            values: SQLITE,
            with: &["PersistentVolumeClaim/gw"],
            fields: &[
                (POD, "/spec/strategy", r#"{"type": "Recreate"}"#),
                (POD, "/spec/template/spec/terminationGracePeriodSeconds", "107"),
                ("PersistentVolumeClaim/gw", "/spec/resources/requests/storage", r#""2Gi""#),
                ("PersistentVolumeClaim/gw", "/spec/storageClassName", r#""fast""#),
            ],
            ..PLAIN
        },
        Case {
            name: "a claim that exists",
            values: "{replicas: 1, persistence: {enabled: true, existingClaim: tokens}}",
            without: &["PersistentVolumeClaim/gw"],
            ..PLAIN
        },
        Case {
            name: "two listeners, one with TLS",
            values: TWO_LISTENERS,
            with: &["Service/gw-internal", "NetworkPolicy/gw-sentry-relay"],
            fields: &[
                (POD, "/spec/template/spec/containers/0/ports/0/containerPort", "8081"),
                (POD, "/spec/template/spec/containers/0/ports/1/name", r#""https-8443""#),
                ("Service/gw", "/spec/ports/0/appProtocol", r#""http""#),
                ("Service/gw-internal", "/spec/ports/0/appProtocol", r#""https""#),
                ("Ingress/gw", "/spec/rules/0/http/paths/1/backend/service/port/number", "443"),
            ],
            ..PLAIN
        },
        Case { name: "an issuer of JWTs, and those who verify assertions", values: VOUCHED, ..PLAIN },
        Case {
            name: "an account and an image of somebody else's",
            values: "{serviceAccount: {create: false, name: gateways},
                      image: {digest: 'sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', pullSecrets: [{name: registry}]}}",
            without: &["ServiceAccount/gw", "ServiceAccount/gateways"],
            fields: &[
                (POD, "/spec/template/spec/serviceAccountName", r#""gateways""#),
                (POD, "/spec/template/spec/imagePullSecrets/0/name", r#""registry""#),
                (
                    POD,
                    "/spec/template/spec/containers/0/image",
                    r#""registry.example.com/portcullis@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa""#,
                ),
            ],
            ..PLAIN
        },
        Case {
            name: "user ids from the platform",
            values: "{podSecurityContext: {runAsUser: null, runAsGroup: null, fsGroup: null}}",
            fields: &[
                (
                    POD,
                    "/spec/template/spec/securityContext",
                    r#"{"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}"#,
                ),
            ],
            ..PLAIN
        },
        Case {
            name: "a load balancer",
            values: "{service: {type: LoadBalancer, port: 443, externalTrafficPolicy: Local, loadBalancerSourceRanges: [10.0.0.0/8],
                      annotations: {example.com/internal: 'true'}}, networkPolicy: {clients: [{ipBlock: {cidr: 0.0.0.0/0}}]}}",
            fields: &[
                ("Service/gw", "/spec/externalTrafficPolicy", r#""Local""#),
                ("Service/gw", "/spec/loadBalancerSourceRanges/0", r#""10.0.0.0/8""#),
                ("Service/gw", "/metadata/annotations/example.com~1internal", r#""true""#),
            ],
            ..PLAIN
        },
        Case {
            name: "put where there is room",
            values: "{nodeSelector: {pool: edge}, tolerations: [{key: edge, operator: Exists}], priorityClassName: high,
                      affinity: {nodeAffinity: {}}, podLabels: {team: sre}, podAnnotations: {example.com/a: b},
                      topologySpread: {keys: [kubernetes.io/hostname], whenUnsatisfiable: DoNotSchedule},
                      extraVolumes: [{name: audit, emptyDir: {}}], extraVolumeMounts: [{name: audit, mountPath: /var/log/portcullis}]}",
            fields: &[
                (POD, "/spec/template/spec/nodeSelector/pool", r#""edge""#),
                (POD, "/spec/template/spec/priorityClassName", r#""high""#),
                (POD, "/spec/template/metadata/labels/team", r#""sre""#),
                (POD, "/spec/template/spec/topologySpreadConstraints/0/whenUnsatisfiable", r#""DoNotSchedule""#),
                (POD, "/spec/template/spec/topologySpreadConstraints/1", "null"),
            ],
            ..PLAIN
        },
        Case {
            name: "with time, room and a name of its own",
            values: "{terminationGracePeriodSeconds: 90, spool: {sizeLimit: 2Gi}, fullnameOverride: sentry-gateway,
                      resources: {limits: {ephemeral-storage: 3Gi}}, topologySpread: {keys: []}}",
            with: &["Deployment/sentry-gateway", "Service/sentry-gateway-admin"],
            fields: &[
                ("Deployment/sentry-gateway", "/spec/template/spec/terminationGracePeriodSeconds", "90"),
                ("Deployment/sentry-gateway", "/spec/template/spec/topologySpreadConstraints", "null"),
            ],
            ..PLAIN
        },
    ]
}
