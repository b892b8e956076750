{{/* Fail with a sentence for each pair of values that contradict each other. */}}
{{- define "asr.validate" -}}
{{- $v := .Values -}}
{{- $faults := list -}}
{{- $kinds := splitList " " (include "asr.kinds" . | trim) | compact -}}

{{- if not $kinds -}}
  {{- $faults = append $faults "cpu.enabled and cuda.enabled are both false: nothing would run." -}}
{{- end -}}

{{- $stop := addf $v.drain.preStopSeconds $v.drain.timeoutSeconds $v.drain.closeTimeoutSeconds -}}
{{- if le (float64 $v.drain.terminationGracePeriodSeconds) $stop -}}
  {{- $faults = append $faults (printf "drain.terminationGracePeriodSeconds is %v, which must exceed preStopSeconds + timeoutSeconds + closeTimeoutSeconds, %v: the pod would be killed with tasks open." $v.drain.terminationGracePeriodSeconds $stop) -}}
{{- end -}}

{{- if and (include "asr.exposed" .) (not (include "asr.hasKeys" .)) (not $v.access.open) -}}
  {{- $faults = append $faults "The server is exposed beyond the cluster (ingress, gateway or service.type) without API keys: set access.keys or access.existingSecret, or access.open if something in front authenticates." -}}
{{- end -}}
{{- if and $v.access.keys $v.access.existingSecret -}}
  {{- $faults = append $faults "access.keys and access.existingSecret are both set: choose one." -}}
{{- end -}}
{{- if and $v.database.url $v.database.existingSecret -}}
  {{- $faults = append $faults "database.url and database.existingSecret are both set: choose one." -}}
{{- end -}}
{{- if regexMatch "://[^/@]*:[^/@]+@" $v.database.url -}}
  {{- $faults = append $faults "database.url contains a password, which every reader of the Deployment would see: put the URL into a Secret and name it in database.existingSecret." -}}
{{- end -}}
{{- if and $v.networkPolicy.enabled (or $v.database.existingSecret (and $v.database.url (not (hasPrefix "sqlite" $v.database.url)))) (not $v.networkPolicy.egress) -}}
  {{- $faults = append $faults "The network policy closes the way to the database: add a rule to networkPolicy.egress, or set networkPolicy.enabled to false." -}}
{{- end -}}

{{- if and $v.ingress.enabled (not $v.ingress.hosts) -}}
  {{- $faults = append $faults "ingress.enabled needs at least one name in ingress.hosts." -}}
{{- end -}}
{{- if and $v.gateway.enabled (not $v.gateway.parentRefs) -}}
  {{- $faults = append $faults "gateway.enabled needs at least one Gateway in gateway.parentRefs." -}}
{{- end -}}

{{- $scaled := ne $v.autoscaling.mode "none" -}}
{{- if $scaled -}}
  {{- if gt (int $v.autoscaling.utilizationPercent) 100 -}}
    {{- $faults = append $faults (printf "autoscaling.utilizationPercent is %v: utilisation never exceeds 100 %%, so no pod would be added." $v.autoscaling.utilizationPercent) -}}
  {{- end -}}
  {{- if and (eq $v.autoscaling.mode "keda") (not $v.autoscaling.prometheusAddress) -}}
    {{- $faults = append $faults "autoscaling.mode keda needs autoscaling.prometheusAddress, the URL of Prometheus." -}}
  {{- end -}}
{{- end -}}

{{- range $kind := $kinds -}}
  {{- $k := index $v $kind -}}
  {{- if and $scaled (gt (int $k.minReplicas) (int $k.maxReplicas)) -}}
    {{- $faults = append $faults (printf "%s.minReplicas is %v, above %s.maxReplicas, %v." $kind $k.minReplicas $kind $k.maxReplicas) -}}
  {{- end -}}
  {{- if and (eq (int $k.maxSurge) 0) (eq (int $k.maxUnavailable) 0) -}}
    {{- $faults = append $faults (printf "%s.maxSurge and %s.maxUnavailable are both 0: no update could begin." $kind $kind) -}}
  {{- end -}}
  {{- $pods := ternary $k.maxReplicas $k.replicas $scaled | int -}}
  {{- if and (eq $v.model.source "claim") (not $v.model.claim.existing) (eq $v.model.claim.accessMode "ReadWriteOnce") (or (gt $pods 1) (gt (int $k.maxSurge) 0) (gt (len $kinds) 1)) -}}
    {{- $faults = append $faults (printf "model.claim.accessMode ReadWriteOnce allows one node only, but %s may have several pods: use ReadWriteMany, or one replica and maxSurge 0." $kind) -}}
  {{- end -}}
  {{- $settings := merge dict $k.settings $v.settings -}}
  {{- $refused_ms := hasKey $settings "ASR_MAX_DELAY_MS" | ternary (get $settings "ASR_MAX_DELAY_MS") 150 | float64 -}}
  {{- if and $scaled (gt $refused_ms 0.0) (ge (float64 $v.autoscaling.delayMs) $refused_ms) -}}
    {{- $faults = append $faults (printf "autoscaling.delayMs is %v, but servers of kind %s refuse tasks from a delay of %v ms on (ASR_MAX_DELAY_MS): it must be lower." $v.autoscaling.delayMs $kind $refused_ms) -}}
  {{- end -}}
  {{- $tasks := get $settings "ASR_MAX_TASKS" | default 64 -}}
  {{- if gt (int $k.capacity) (int $tasks) -}}
    {{- $faults = append $faults (printf "%s.capacity is %v, but a server opens %v tasks at most: raise ASR_MAX_TASKS in %s.settings." $kind $k.capacity $tasks $kind) -}}
  {{- end -}}
  {{- $own := fromYaml (include "asr.ownSettings" (dict "root" $ "kind" $kind)) -}}
  {{- range $name := keys $settings | sortAlpha -}}
    {{- if or (hasKey $own $name) (has $name (list "ASR_API_KEYS" "ASR_API_KEYS_FILE" "ASR_DATABASE_URL" "ASR_CAPACITY" "ASR_HTTPS" "ASR_SSL_CERTFILE" "ASR_SSL_KEYFILE")) -}}
      {{- $faults = append $faults (printf "settings.%s: other values of the chart determine it (access, database, drain, model, capacity; TLS ends at the proxy)." $name) -}}
    {{- end -}}
  {{- end -}}
{{- end -}}

{{- if $faults -}}
  {{- fail (printf "\n  - %s" (uniq $faults | join "\n  - ")) -}}
{{- end -}}
{{- end -}}
