{{/* Whether a label selector picks anything out: without a label that must be there it takes everything. */}}
{{- define "portcullis.selects" -}}
{{- $selector := . | default dict -}}
{{- if $selector.matchLabels -}}true{{- end -}}
{{- range $selector.matchExpressions -}}
{{- if has .operator (list "In" "Exists") -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{/* Refuses peers that are everybody. `of` is their value, `peers` the list, `pods` whether each must name pods. */}}
{{- define "portcullis.checkPeers" -}}
{{- $of := .of -}}
{{- $pods := .pods -}}
{{- $help := ternary "name the pods by `podSelector`" "select a namespace or pods, or say `ipBlock: {cidr: 0.0.0.0/0}` if everybody is meant" $pods -}}
{{- range $index, $peer := .peers -}}
{{- if $peer.ipBlock -}}
{{- if and $pods (regexMatch "/0$" (toString $peer.ipBlock.cidr)) -}}
{{- include "portcullis.refuse" (printf "`%s[%d]` lets in `%s`, which is everybody; name the addresses that need it" $of $index $peer.ipBlock.cidr) -}}
{{- end -}}
{{- else -}}
{{- $podsSelected := include "portcullis.selects" $peer.podSelector -}}
{{- $namespaceSelected := include "portcullis.selects" $peer.namespaceSelector -}}
{{- if or (and $pods (not $podsSelected)) (not (or $podsSelected $namespaceSelected)) -}}
{{- include "portcullis.refuse" (printf "`%s[%d]` selects nothing in particular, so it lets in every pod; %s" $of $index $help) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "portcullis.checkPolicy" -}}
{{- $config := include "portcullis.config" . | fromJson -}}
{{- $policy := .Values.networkPolicy -}}
{{- if not (include "portcullis.selects" $policy.sentry.web.podSelector) -}}
{{- include "portcullis.refuse" "`networkPolicy.sentry.web.podSelector` is empty, so the policy would close every pod of the namespace; give it the labels of Sentry's web pods, such as `matchLabels: {app: sentry, role: web}`, or set `networkPolicy.enabled=false` and close Sentry otherwise" -}}
{{- end -}}
{{- if and $config.upstream.relay (not (include "portcullis.selects" $policy.sentry.relay.podSelector)) -}}
{{- include "portcullis.refuse" "`networkPolicy.sentry.relay.podSelector` is empty, and the config has `[upstream.relay]`; give it the labels of Relay's pods, such as `matchLabels: {app: sentry, role: relay}`" -}}
{{- end -}}
{{- if and $config.upstream.assets (not (include "portcullis.selects" $policy.sentry.assets.podSelector)) -}}
{{- include "portcullis.refuse" "`networkPolicy.sentry.assets.podSelector` is empty, and the config has `[upstream.assets]`; give it the labels of the pods of Sentry's nginx" -}}
{{- end -}}
{{- if not $policy.clients -}}
{{- include "portcullis.refuse" "`networkPolicy.clients` is empty, so nobody could connect to the gateway; name the Ingress controller's namespace or pods, or `ipBlock: {cidr: 0.0.0.0/0}` for everybody" -}}
{{- end -}}
{{- include "portcullis.checkPeers" (dict "of" "networkPolicy.clients" "peers" $policy.clients "pods" false) -}}
{{- range $name := list "prometheus" "verifiers" -}}
{{- $peers := get $policy $name -}}
{{- include "portcullis.checkPeers" (dict "of" (printf "networkPolicy.%s" $name) "peers" $peers "pods" false) -}}
{{- range $peers -}}
{{- if and .ipBlock (regexMatch "/0$" (toString .ipBlock.cidr)) -}}
{{- include "portcullis.refuse" (printf "`networkPolicy.%s` lets `%s` to the admin listener, which is everybody; name the addresses that need it" $name .ipBlock.cidr) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $policy.verifiers (not (hasKey $config "assertion")) -}}
{{- include "portcullis.refuse" "`networkPolicy.verifiers` lets somebody to the admin listener for keys, and the config has no `[assertion]`; add it, or delete them" -}}
{{- end -}}
{{- include "portcullis.checkPeers" (dict "of" "networkPolicy.sentry.web.peers" "peers" $policy.sentry.web.peers "pods" true) -}}
{{- include "portcullis.checkPeers" (dict "of" "networkPolicy.sentry.relay.peers" "peers" $policy.sentry.relay.peers "pods" true) -}}
{{- range .Values.additionalServices -}}
{{- if not .clients -}}
{{- include "portcullis.refuse" (printf "`additionalServices` has `%s` without `clients`, so nobody could connect to it; name them, or delete it" .name) -}}
{{- end -}}
{{- include "portcullis.checkPeers" (dict "of" (printf "additionalServices.%s.clients" .name) "peers" .clients "pods" false) -}}
{{- end -}}
{{- $outside := dig "traces" "endpoint" (dig "redis" "url" "" $config) $config -}}
{{- range $config.store -}}
{{- if or (hasPrefix "postgres" (toString .url)) (eq "rfc7662" (toString .protocol)) -}}
{{- $outside = .url -}}
{{- end -}}
{{- end -}}
{{- if and $outside (not $policy.egress) -}}
{{- include "portcullis.refuse" (printf "the config names `%s`, and `networkPolicy.egress` lets nothing out to it; add a rule, such as `{to: [{podSelector: {matchLabels: {app: postgresql}}}], ports: [{port: 5432}]}`" $outside) -}}
{{- end -}}
{{- range $config.issuer -}}
{{- $url := .jwks_url | default .issuer | toString -}}
{{- if and (not .jwks_file) (hasPrefix "https://" $url) -}}
{{- $port := regexFind ":[0-9]+$" (regexFind "^https://[^/]+" $url) | trimPrefix ":" | default "443" -}}
{{- if not (include "portcullis.letsOut" (dict "egress" $policy.egress "port" $port)) -}}
{{- include "portcullis.refuse" (printf "the issuer `%s` of the config is asked for its keys, and `networkPolicy.egress` lets nothing out to port %s; add a rule, such as `{to: [{ipBlock: {cidr: 0.0.0.0/0}}], ports: [{port: %s}]}`, or name a `jwks_file`" $url $port $port) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Whether an egress rule has a port. Which number a name of a port is, the pods there say: it is taken. */}}
{{- define "portcullis.letsOut" -}}
{{- $wanted := int .port -}}
{{- range .egress -}}
{{- if not .ports -}}true{{- end -}}
{{- range .ports -}}
{{- if eq "TCP" (.protocol | default "TCP") -}}
{{- if not (regexMatch "^[0-9]+$" (toString .port)) -}}true
{{- else if and (le (int .port) $wanted) (le $wanted (int (.endPort | default .port))) -}}true
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
