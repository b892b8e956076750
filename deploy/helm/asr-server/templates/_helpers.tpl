{{- define "asr.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "asr.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "asr.labels" -}}
{{ include "asr.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* The enabled device kinds, as words of one string. */}}
{{- define "asr.kinds" -}}
{{- if .Values.cpu.enabled }}cpu {{ end }}{{ if .Values.cuda.enabled }}cuda{{ end -}}
{{- end -}}

{{/* A value as text: Helm holds integers as floats, and would print 4194304 as 4.194304e+06. */}}
{{- define "asr.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- end -}}

{{- define "asr.hasKeys" -}}
{{- if or .Values.access.keys .Values.access.existingSecret }}true{{ end -}}
{{- end -}}

{{- define "asr.keysSecret" -}}
{{- .Values.access.existingSecret | default (printf "%s-keys" (include "asr.fullname" .)) -}}
{{- end -}}

{{- define "asr.exposed" -}}
{{- if or .Values.ingress.enabled .Values.gateway.enabled (ne .Values.service.type "ClusterIP") }}true{{ end -}}
{{- end -}}

{{- define "asr.claim" -}}
{{- .Values.model.claim.existing | default (printf "%s-models" (include "asr.fullname" .)) -}}
{{- end -}}

{{- define "asr.downloads" -}}
{{- $model := .Values.model -}}
{{- if or (eq $model.source "download") (and (eq $model.source "claim") $model.claim.download) }}true{{ end -}}
{{- end -}}

{{/* Settings that the chart derives from other values, as YAML; argument: root, kind. */}}
{{- define "asr.ownSettings" -}}
{{- $values := .root.Values -}}
{{- $kind := index $values .kind -}}
ASR_HOST: 0.0.0.0
ASR_PORT: "8000"
ASR_DEVICE: {{ .kind }}
ASR_CAPACITY_FILE: /data/capacity.json
ASR_DOWNLOAD: never
ASR_DRAIN_TIMEOUT_S: {{ include "asr.text" $values.drain.timeoutSeconds | quote }}
ASR_CLOSE_TIMEOUT_S: {{ include "asr.text" $values.drain.closeTimeoutSeconds | quote }}
ASR_REFUSE_WHEN_FULL: {{ $values.refuseWhenFull | quote }}
ASR_MODEL_DIR: {{ eq $values.model.source "image" | ternary $values.model.imageDirectory "/models" }}
{{- if eq $values.model.source "demo" }}
ASR_MODEL: demo
{{- end }}
{{- with $kind.capacity }}
ASR_CAPACITY: {{ include "asr.text" . | quote }}
{{- end }}
{{- if include "asr.hasKeys" .root }}
ASR_API_KEYS_FILE: /etc/asr-server/keys/{{ $values.access.secretKey }}
{{- end }}
{{- if not $values.database.existingSecret }}
ASR_DATABASE_URL: {{ $values.database.url | default "sqlite:////data/asr_server.sqlite3" }}
{{- end }}
{{- end -}}

{{/* Environment of a server, as a list; argument: root, kind. */}}
{{- define "asr.env" -}}
{{- $values := .root.Values -}}
{{- $kind := index $values .kind -}}
{{- $settings := merge dict (fromYaml (include "asr.ownSettings" .)) $kind.settings $values.settings $values.env -}}
{{- range $name, $value := $settings }}
- {name: {{ $name }}, value: {{ include "asr.text" $value | quote }}}
{{- end }}
{{- with $values.forwardedAllowIps }}
- {name: FORWARDED_ALLOW_IPS, value: {{ . | quote }}}
{{- end }}
{{- end -}}

{{/* Threads of the model: the processor limit, else the request; argument: root, kind. */}}
{{- define "asr.threadsFrom" -}}
{{- $resources := (index .root.Values .kind).resources -}}
{{- $given := or (hasKey .root.Values.settings "ASR_THREADS") (hasKey (index .root.Values .kind).settings "ASR_THREADS") -}}
{{- if not $given -}}
{{- if (dig "limits" "cpu" "" $resources) }}limits.cpu{{ else if (dig "requests" "cpu" "" $resources) }}requests.cpu{{ end -}}
{{- end -}}
{{- end -}}

{{- define "asr.podSecurity" -}}
runAsNonRoot: true
{{- with .Values.runAsUser }}
runAsUser: {{ int64 . }}
runAsGroup: {{ int64 . }}
fsGroup: {{ int64 . }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "asr.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Image of a kind; argument: root, kind. */}}
{{- define "asr.image" -}}
image: {{ printf "%s:%s" .root.Values.image.repository (index .root.Values .kind).tag }}
{{- with .root.Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- end -}}

{{/* Behaviour of the autoscaler: add pods at once, remove one at a time, because streams do not move. */}}
{{- define "asr.behavior" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies:
    - {type: Percent, value: 100, periodSeconds: 60}
    - {type: Pods, value: 2, periodSeconds: 60}
scaleDown:
  stabilizationWindowSeconds: {{ int64 .Values.autoscaling.scaleDownStabilizationSeconds }}
  policies:
    - {type: Pods, value: 1, periodSeconds: {{ int64 .Values.autoscaling.scaleDownPeriodSeconds }}}
{{- end -}}

{{/* The public paths as rules of an Ingress. */}}
{{- define "asr.ingressPaths" -}}
{{- range .Values.publicPaths }}
- path: {{ . }}
  pathType: Prefix
  backend: {service: {name: {{ include "asr.fullname" $ }}, port: {name: http}}}
{{- end }}
{{- end -}}
