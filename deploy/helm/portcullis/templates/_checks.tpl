{{/* What would not serve, or would be no boundary, is refused here and not found out in the cluster. */}}
{{- define "portcullis.checks" -}}
{{- include "portcullis.checkConfig" . -}}
{{- include "portcullis.checkStore" . -}}
{{- include "portcullis.checkRoom" . -}}
{{- include "portcullis.checkServices" . -}}
{{- include "portcullis.checkIngress" . -}}
{{- if .Values.networkPolicy.enabled -}}
{{- include "portcullis.checkPolicy" . -}}
{{- end -}}
{{- end -}}

{{- define "portcullis.refuse" -}}
{{- fail (printf "\n\n%s\n" .) -}}
{{- end -}}

{{- define "portcullis.checkConfig" -}}
{{- if not .Values.image.repository -}}
{{- include "portcullis.refuse" "`image.repository` is empty, and no registry publishes the image; build it, push it to a registry of yours and name it: `--set image.repository=registry.example.com/portcullis`" -}}
{{- end -}}
{{- if not .Values.config -}}
{{- include "portcullis.refuse" "`config` is empty; give the gateway its config: `--set-file config=portcullis.toml`" -}}
{{- end -}}
{{- $config := include "portcullis.config" . | fromJson -}}
{{- if and (hasKey $config "Error") (eq (len $config) 1) -}}
{{- include "portcullis.refuse" (printf "`config` is no TOML: %s; try it with `portcullis check --config portcullis.toml`" $config.Error) -}}
{{- end -}}
{{- if not $config.listen -}}
{{- include "portcullis.refuse" "`config` has no `[[listen]]`; add one with `address = \"0.0.0.0:8080\"`" -}}
{{- end -}}
{{- range $index, $listen := $config.listen -}}
{{- if or (not $listen.address) (regexMatch "^(127\\.|\\[::1\\])" (toString $listen.address)) -}}
{{- include "portcullis.refuse" (printf "`listen[%d].address` of the config is `%s`, where no Service reaches it; write `address = \"0.0.0.0:8080\"`" $index (toString $listen.address)) -}}
{{- end -}}
{{- end -}}
{{- $admin := dig "admin" "address" "127.0.0.1:9090" $config -}}
{{- if regexMatch "^(127\\.|\\[::1\\])" $admin -}}
{{- include "portcullis.refuse" (printf "the admin listener of the config is at `%s`, where kubelet can't ask whether the gateway is ready; write `address = \"0.0.0.0:9090\"` under `[admin]`" $admin) -}}
{{- end -}}
{{- range $name, $text := .Values.files -}}
{{- if eq $name "portcullis.toml" -}}
{{- include "portcullis.refuse" "`files` has a `portcullis.toml`, which is what `config` is written to; give it another name" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A file of SQLite is one pod's, and gone with it where nothing keeps it. */}}
{{- define "portcullis.checkStore" -}}
{{- $config := include "portcullis.config" . | fromJson -}}
{{- range $index, $store := $config.store -}}
{{- if and (hasPrefix "sqlite:" (toString $store.url)) (not $.Values.persistence.enabled) -}}
{{- include "portcullis.refuse" (printf "`store[%d]` of the config is a file of SQLite, which would end with its pod; set `persistence.enabled=true`, or take a PostgreSQL" $index) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.persistence.enabled (or .Values.autoscaling.enabled (gt (int .Values.replicas) 1)) -}}
{{- include "portcullis.refuse" "`persistence.enabled` is for a single pod; set `replicas=1` and `autoscaling.enabled=false`, or take a PostgreSQL as the store of all of them" -}}
{{- end -}}
{{- end -}}

{{- define "portcullis.checkRoom" -}}
{{- $config := include "portcullis.config" . | fromJson -}}
{{- $stop := include "portcullis.stop" . | int64 -}}
{{- $grace := include "portcullis.grace" . | int64 -}}
{{- if lt $grace (add $stop 5) -}}
{{- include "portcullis.refuse" (printf "`terminationGracePeriodSeconds` is %d, and the gateway takes up to %d s to end; set it to %d or more, or shorten `server.drain` in the config" $grace $stop (add $stop 5)) -}}
{{- end -}}
{{- $budget := dig "spool" "budget" "1GiB" $config -}}
{{- $bytes := include "portcullis.bytes" $budget -}}
{{- if not $bytes -}}
{{- include "portcullis.refuse" (printf "`spool.budget` of the config is `%s`, which the chart can't read; write it without a fraction, such as \"512MiB\"" $budget) -}}
{{- end -}}
{{- $limit := include "portcullis.bytes" .Values.spool.sizeLimit -}}
{{- if not $limit -}}
{{- include "portcullis.refuse" (printf "`spool.sizeLimit` is `%s`, which the chart can't read; write it without a fraction, such as `1280Mi`" (toString .Values.spool.sizeLimit)) -}}
{{- end -}}
{{- if le (int64 $limit) (int64 $bytes) -}}
{{- include "portcullis.refuse" (printf "`spool.sizeLimit` is %s, and the config lets bodies take %s of it: a pod that is full is evicted; set `spool.sizeLimit` larger, or `budget` under `[spool]` smaller" (toString .Values.spool.sizeLimit) $budget) -}}
{{- end -}}
{{- with dig "limits" "ephemeral-storage" "" .Values.resources -}}
{{- $storage := include "portcullis.bytes" . -}}
{{- if and $storage (lt (int64 $storage) (int64 $limit)) -}}
{{- include "portcullis.refuse" (printf "`resources.limits.ephemeral-storage` is %s, less than `spool.sizeLimit`, which counts in it; set it larger" (toString .)) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (not (dig "requests" "cpu" "" .Values.resources)) -}}
{{- include "portcullis.refuse" "`autoscaling.enabled` goes by a share of `resources.requests.cpu`, which is not set; set it" -}}
{{- end -}}
{{- end -}}

{{- define "portcullis.checkServices" -}}
{{- $ports := list -}}
{{- range (include "portcullis.listeners" . | fromJson).all -}}
{{- $ports = append $ports (int .port) -}}
{{- end -}}
{{- range .Values.additionalServices -}}
{{- if not (has (int .listenPort) $ports) -}}
{{- include "portcullis.refuse" (printf "`additionalServices` has `%s` for port %d, and the config listens on %s; name one of those as `listenPort`" .name (int .listenPort) (join ", " $ports)) -}}
{{- end -}}
{{- if eq .name "admin" -}}
{{- include "portcullis.refuse" "`additionalServices` has an `admin`, as the Service of the admin listener is called; give it another name" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A host that the config does not know would be answered with 421. */}}
{{- define "portcullis.checkIngress" -}}
{{- if .Values.ingress.enabled -}}
{{- if not .Values.ingress.hosts -}}
{{- include "portcullis.refuse" "`ingress.enabled` is set, and `ingress.hosts` is empty; name the host of `public_url`" -}}
{{- end -}}
{{- $config := include "portcullis.config" . | fromJson -}}
{{- $names := list -}}
{{- range prepend ($config.public_aliases | default list) $config.public_url -}}
{{- $names = append $names (get (urlParse (toString .)) "hostname" | lower) -}}
{{- end -}}
{{- $services := list -}}
{{- range .Values.additionalServices -}}
{{- $services = append $services .name -}}
{{- end -}}
{{- range $index, $host := .Values.ingress.hosts -}}
{{- if not (has ($host.host | lower) $names) -}}
{{- include "portcullis.refuse" (printf "`ingress.hosts[%d].host` is `%s`, which the config does not know and would answer with 421; write it as `public_url` or into `public_aliases`" $index $host.host) -}}
{{- end -}}
{{- range $host.paths -}}
{{- if and .service (not (has .service $services)) -}}
{{- include "portcullis.refuse" (printf "`ingress.hosts[%d]` names the Service `%s`, which is none of `additionalServices`; add it there" $index .service) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
