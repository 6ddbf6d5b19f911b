{{- define "portcullis.fullname" -}}
{{- .Values.fullnameOverride | default .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "portcullis.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "portcullis.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end -}}

{{/* What a selector goes by: it can't be changed once there is a Deployment. */}}
{{- define "portcullis.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "portcullis.labels" -}}
{{ include "portcullis.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: sentry
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "portcullis.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The config, as JSON. */}}
{{- define "portcullis.config" -}}
{{- .Values.config | fromToml | toJson -}}
{{- end -}}

{{/* The port of a socket address. */}}
{{- define "portcullis.port" -}}
{{- regexFind "[0-9]+$" . -}}
{{- end -}}

{{/* The ports that the config listens on, as JSON: `port`, `name`, `tls`; each once. */}}
{{- define "portcullis.listeners" -}}
{{- $config := include "portcullis.config" . | fromJson -}}
{{- $listeners := list -}}
{{- $seen := dict -}}
{{- range $config.listen -}}
{{- $port := include "portcullis.port" .address -}}
{{- if not (hasKey $seen $port) -}}
{{- $_ := set $seen $port true -}}
{{- $tls := not (empty .tls) -}}
{{- $scheme := ternary "https" "http" $tls -}}
{{- $name := ternary $scheme (printf "%s-%s" $scheme $port) (empty $listeners) -}}
{{- $listeners = append $listeners (dict "port" (int $port) "name" $name "tls" $tls) -}}
{{- end -}}
{{- end -}}
{{- dict "all" $listeners | toJson -}}
{{- end -}}

{{- define "portcullis.adminPort" -}}
{{- $config := include "portcullis.config" . | fromJson -}}
{{- include "portcullis.port" (dig "admin" "address" "127.0.0.1:9090" $config) -}}
{{- end -}}

{{- define "portcullis.spoolFolder" -}}
{{- $config := include "portcullis.config" . | fromJson -}}
{{- dig "spool" "folder" "/tmp" $config -}}
{{- end -}}

{{/* What only a restart can change: another value of this rolls the pods. */}}
{{- define "portcullis.restart" -}}
{{- $config := include "portcullis.config" . | fromJson -}}
{{- $listen := list -}}
{{- range $config.listen -}}
{{- $listen = append $listen (list .address (not (empty .tls))) -}}
{{- end -}}
{{- list $listen (dig "admin" "address" "" $config) (dig "server" "threads" 0 $config) | toJson -}}
{{- end -}}

{{/* Seconds of a duration such as `1m 30s`; nothing if it can't be read. */}}
{{- define "portcullis.seconds" -}}
{{- if regexMatch "^([0-9]+ *(ms|s|sec|secs|seconds?|m|min|mins|minutes?) *)+$" . -}}
{{- $milliseconds := 0 -}}
{{- range regexFindAll "[0-9]+ *[a-z]+" . -1 -}}
{{- $number := int64 (regexFind "[0-9]+" .) -}}
{{- $unit := regexFind "[a-z]+" . -}}
{{- $factor := ternary 1 (ternary 60000 1000 (hasPrefix "m" $unit)) (eq "ms" $unit) -}}
{{- $milliseconds = add $milliseconds (mul $number $factor) -}}
{{- end -}}
{{- div (add $milliseconds 999) 1000 -}}
{{- end -}}
{{- end -}}

{{/* Bytes of a size, such as `1GiB` of the config or `1Gi` of Kubernetes; nothing if it can't be read. */}}
{{- define "portcullis.bytes" -}}
{{- $text := toString . -}}
{{- if regexMatch "^[0-9]+ *([kKMGT]i?)?B?$" $text -}}
{{- $unit := regexFind "[kKMGT]i?" $text | upper -}}
{{- $factors := dict "" 1 "K" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "KI" 1024 "MI" 1048576 "GI" 1073741824 "TI" 1099511627776 -}}
{{- mul (int64 (regexFind "[0-9]+" $text)) (int64 (get $factors $unit)) -}}
{{- end -}}
{{- end -}}

{{/* Seconds that the gateway itself takes to end. */}}
{{- define "portcullis.stop" -}}
{{- $config := include "portcullis.config" . | fromJson -}}
{{- $total := 0 -}}
{{- range $key, $default := dict "stop_delay" "5s" "drain" "20s" -}}
{{- $text := dig "server" $key $default $config -}}
{{- $seconds := include "portcullis.seconds" $text -}}
{{- if not $seconds -}}
{{- fail (printf "\n\n`server.%s` of the config is `%s`, which the chart can't read; write it in seconds, such as \"20s\"\n" $key $text) -}}
{{- end -}}
{{- $total = add $total (int64 $seconds) -}}
{{- end -}}
{{- $total -}}
{{- end -}}

{{/* How long Kubernetes waits: that, and what hung stores and readers of logs may add. */}}
{{- define "portcullis.grace" -}}
{{- .Values.terminationGracePeriodSeconds | default (add (include "portcullis.stop" . | int64) 15) -}}
{{- end -}}

{{/* Pods of the gateway, as a peer of policies in Sentry's namespace. */}}
{{- define "portcullis.peer" -}}
namespaceSelector:
  matchLabels:
    kubernetes.io/metadata.name: {{ .Release.Namespace }}
podSelector:
  matchLabels:
    {{- include "portcullis.selectorLabels" . | nindent 4 }}
{{- end -}}

{{/* Pods of Sentry, as a peer of the gateway's policy. */}}
{{- define "portcullis.sentryPeer" -}}
namespaceSelector:
  matchLabels:
    kubernetes.io/metadata.name: {{ .namespace }}
podSelector:
  {{- toYaml .podSelector | nindent 2 }}
{{- end -}}

{{- define "portcullis.sentryNamespace" -}}
{{- .Values.networkPolicy.sentry.namespace | default .Release.Namespace -}}
{{- end -}}
