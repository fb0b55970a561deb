{{- define "tenfold.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- /* The scorer has the release's own name, so that transactional ids read <group>~tenfold-0. */}}
{{- define "tenfold.roleName" -}}
{{- $name := include "tenfold.fullname" .root }}
{{- if eq .role "scorer" }}{{ $name }}{{ else }}{{ $name }}-{{ .role }}{{ end }}
{{- end }}

{{- /* What cannot change in the life of a release. */}}
{{- define "tenfold.selectorLabels" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- with .role }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{- define "tenfold.labels" -}}
{{ include "tenfold.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ .root.Chart.Name }}-{{ .root.Chart.Version }}
{{- end }}

{{- /* Makes links of the paths in an alert's annotations, in place. Takes root and annotations. */}}
{{- define "tenfold.link" -}}
{{- if and .root.Values.links.runbooks .annotations.runbook }}
{{- $_ := set .annotations "runbook_url" (printf "%s/%s" (trimSuffix "/" .root.Values.links.runbooks) (base .annotations.runbook)) }}
{{- end }}
{{- if and .root.Values.links.grafana .annotations.dashboard }}
{{- $_ := set .annotations "dashboard_url" (printf "%s%s" (trimSuffix "/" .root.Values.links.grafana) .annotations.dashboard) }}
{{- end }}
{{- end }}

{{- /* Whether a role runs on and answers at the metrics' port: true, or nothing. Takes root and role. */}}
{{- define "tenfold.serves" -}}
{{- if or (has .role (list "scorer" "archiver" "monitor")) (and (eq .role "profiles") (eq .root.Values.profiles.kind "StatefulSet")) }}true{{ end }}
{{- end }}

{{- define "tenfold.serviceAccount" -}}
{{ .Values.serviceAccount.name | default (include "tenfold.fullname" .) }}
{{- end }}

{{- /* A Service with no address of its own: the pods' names, and what Prometheus finds them by. */}}
{{- define "tenfold.service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "tenfold.roleName" . }}
  labels: {{- include "tenfold.labels" . | nindent 4 }}
spec:
  clusterIP: None
  publishNotReadyAddresses: true # a pod that waits is one that Prometheus has to see
  selector: {{- include "tenfold.selectorLabels" . | nindent 4 }}
  ports:
    - {name: metrics, port: 9108, targetPort: metrics}
{{- end }}
