{{- /* Who is given what: image, clients, and how model store and archive are mounted. All else follows from here. */}}
{{- define "tenfold.roles" -}}
scorer: {image: {{ .Values.scorer.rebuildFromArchive | ternary "archive" "serving" }}, kafka: true, redis: true, model: read
  {{- if .Values.scorer.rebuildFromArchive }}, archive: read{{ end }}}
archiver: {image: archive, kafka: true, archive: write}
profiles: {image: archive, kafka: true, redis: true, model: read, archive: write}
monitor: {image: archive, kafka: true, redis: true, archive: write}
compaction: {image: archive, archive: write}
training: {image: training, model: write, archive: read}
{{- end }}

{{- define "tenfold.checked" -}}
{{- $values := .Values }}
{{- range $what, $value := dict "kafka.bootstrapServers" .Values.kafka.bootstrapServers "redis.url" .Values.redis.url }}
{{- if not $value }}{{ fail (printf "%s is not set: it has no default" $what) }}{{ end }}
{{- end }}
{{- $local := hasPrefix "/" .Values.archive.url }}
{{- if and $local (not (hasPrefix "/data/" .Values.archive.url)) }}
{{- fail "archive.url: a directory has to be below /data, where archive.volume is mounted; profiles are put beside it" }}
{{- end }}
{{- $wanting := list }}
{{- range $role := list "archiver" "profiles" "monitor" "compaction" "training" }}
{{- if (index $values $role).enabled }}{{ $wanting = append $wanting (printf "%s.enabled" $role) }}{{ end }}
{{- end }}
{{- if .Values.scorer.rebuildFromArchive }}{{ $wanting = append $wanting "scorer.rebuildFromArchive" }}{{ end }}
{{- if and $wanting $local (not .Values.archive.volume) }}
{{- fail (printf "%s needs an archive: set archive.volume, or archive.url to that of an object store" (join ", " $wanting)) }}
{{- end }}
{{- if and .Values.training.enabled (not .Values.model.volume.persistentVolumeClaim) (not .Values.model.volume.nfs) (not .Values.model.volume.csi) }}
{{- fail "training.enabled needs a store that can be written: set model.volume to a persistentVolumeClaim" }}
{{- end }}
{{- if and .Values.model.bundle (not .Values.model.volume) }}
{{- fail "model.bundle is one of a store: set model.volume too" }}
{{- end }}
{{- if and .Values.keda.enabled (lt (int .Values.keda.maxReplicas) (int .Values.keda.minReplicas)) }}
{{- fail "keda.maxReplicas is less than keda.minReplicas" }}
{{- end }}
{{- end }}

{{- /* Every TENFOLD_… of a role. Takes root, role, and is: its line of the table. */}}
{{- define "tenfold.environment" -}}
{{- $values := .root.Values }}
{{- $own := index $values .role }}
{{- $plain := dict "TENFOLD_GROUP_ID" $values.group "TENFOLD_INPUT_TOPIC" $values.topics.input
  "TENFOLD_OUTPUT_TOPIC" $values.topics.output "TENFOLD_LABELS_TOPIC" $values.topics.labels }}
{{- with $values.topics.deadLetters }}{{ $_ := set $plain "TENFOLD_DLQ_TOPIC" . }}{{ end }}
{{- $secret := dict }}
{{- if .is.kafka }}
{{- $_ := set $plain "TENFOLD_BOOTSTRAP_SERVERS" $values.kafka.bootstrapServers }}
{{- range $name, $value := $values.kafka.options }}
{{- $_ := set $plain (printf "TENFOLD_KAFKA__%s" ($name | replace "." "_" | upper)) $value }}
{{- end }}
{{- range $name, $from := merge (deepCopy $own.secretOptions.kafka) $values.kafka.secretOptions }}
{{- $_ := set $secret (printf "TENFOLD_KAFKA__%s" ($name | replace "." "_" | upper)) $from }}
{{- end }}
{{- end }}
{{- if .is.redis }}
{{- $_ := set $plain "TENFOLD_REDIS_URL" $values.redis.url }}
{{- range $name, $value := $values.redis.options }}
{{- $_ := set $plain (printf "TENFOLD_REDIS__%s" (upper $name)) $value }}
{{- end }}
{{- range $name, $from := merge (deepCopy $own.secretOptions.redis) $values.redis.secretOptions }}
{{- $_ := set $secret (printf "TENFOLD_REDIS__%s" (upper $name)) $from }}
{{- end }}
{{- end }}
{{- if $values.pseudonymKeys }} {{- /* every role names users, in Redis or in the archive */}}
{{- $_ := set $secret "TENFOLD_PSEUDONYM_KEYS" $values.pseudonymKeys }}
{{- end }}
{{- if .is.archive }}{{ $_ := set $plain "TENFOLD_ARCHIVE" $values.archive.url }}{{ end }}
{{- if .is.model }}{{ $_ := set $plain "TENFOLD_MODEL_STORE" "/models" }}{{ end }}
{{- if and (eq .is.model "read") $values.model.bundle }}
{{- $_ := set $plain "TENFOLD_MODEL" (printf "/models/%s" $values.model.bundle) }}
{{- end }}
{{- if .serves }}
{{- $_ := set $plain "TENFOLD_METRICS_HOST" "0.0.0.0" }}
{{- $_ := set $plain "TENFOLD_METRICS_PORT" "9108" }}
{{- end }}
{{- range $name, $value := mergeOverwrite $plain $values.settings $own.settings }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- if eq .role "scorer" }}
- name: TENFOLD_INSTANCE_ID # the name survives the pod: whoever starts under it ends what the last one left open
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- end }}
{{- range $name, $from := $secret }}
- {name: {{ $name }}, valueFrom: {secretKeyRef: {name: {{ $from.name | quote }}, key: {{ $from.key | quote }}}}}
{{- end }}
{{- end }}

{{- /* A role's pod, labels and all. Takes root, role, command, and serves: whether it answers at the metrics' port. */}}
{{- define "tenfold.pod" -}}
{{- include "tenfold.checked" .root -}}
{{- $values := .root.Values }}
{{- $own := index $values .role }}
{{- $is := index (include "tenfold.roles" .root | fromYaml) .role }}
{{- $certificates := $own.certificates | default $values.certificates }}
{{- $archive := and $is.archive $values.archive.volume }}
{{- $model := and $is.model $values.model.volume -}}
metadata:
  labels:
    {{- include "tenfold.selectorLabels" . | nindent 4 }}
    {{- with $own.podLabels }}{{ toYaml . | nindent 4 }}{{ end }}
  annotations:
    kubectl.kubernetes.io/default-container: {{ .role }}
    {{- with $own.podAnnotations }}{{ toYaml . | nindent 4 }}{{ end }}
spec:
  serviceAccountName: {{ include "tenfold.serviceAccount" .root }}
  automountServiceAccountToken: false
  enableServiceLinks: false # a Service named tenfold would be TENFOLD_PORT here, which is no setting
  securityContext: {{- toYaml $values.podSecurityContext | nindent 4 }}
  {{- with $values.image.pullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .serves }}
  terminationGracePeriodSeconds: {{ $own.terminationGracePeriodSeconds }}
  {{- else }}
  restartPolicy: Never # each try has a pod of its own, and its logs
  {{- end }}
  {{- with $own.pod }}{{ toYaml . | nindent 2 }}{{ end }}
  {{- if and (eq .role "scorer") (not $own.pod.topologySpreadConstraints) }}
  topologySpreadConstraints:
    - maxSkew: 1
      topologyKey: kubernetes.io/hostname
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels: {{- include "tenfold.selectorLabels" . | nindent 10 }}
  {{- end }}
  containers:
    - name: {{ .role }}
      image: {{ printf "%s/%s:%s" $values.image.repository $is.image ($values.image.tag | default .root.Chart.AppVersion) | quote }}
      imagePullPolicy: {{ $values.image.pullPolicy }}
      args: {{- toYaml .command | nindent 8 }}
      env: {{- include "tenfold.environment" (merge (dict "is" $is) .) | trim | nindent 8 }}
      resources: {{- toYaml $own.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      {{- if .serves }}
      ports:
        - {name: metrics, containerPort: 9108}
      startupProbe: # it answers once Kafka, Redis and the model are there; without them it exits and says so
        httpGet: {path: /healthz, port: metrics}
        periodSeconds: 2
        failureThreshold: 90
      livenessProbe: # alive is not ready: without Kafka or Redis it waits, and a restart would bring neither back
        httpGet: {path: /healthz, port: metrics}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 3
      readinessProbe:
        httpGet: {path: /readyz, port: metrics}
        periodSeconds: 5
        timeoutSeconds: 5
      {{- end }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- if $certificates }}
        - {name: certificates, mountPath: /certificates, readOnly: true}
        {{- end }}
        {{- if $model }}
        - {name: models, mountPath: /models, readOnly: {{ ne $is.model "write" }}}
        {{- end }}
        {{- if $archive }}
        - {name: archive, mountPath: /data, readOnly: {{ ne $is.archive "write" }}}
        {{- end }}
  volumes:
    - {name: tmp, emptyDir: {}}
    {{- if $certificates }}
    - {name: certificates, secret: {secretName: {{ $certificates | quote }}}}
    {{- end }}
    {{- if $model }}
    - name: models
      {{- toYaml $values.model.volume | nindent 6 }}
    {{- end }}
    {{- if $archive }}
    - name: archive
      {{- toYaml $values.archive.volume | nindent 6 }}
    {{- end }}
{{- end }}
