{{- /*
Names are fixed, not derived from the release: the CRD and the webhook configuration make one installation a cluster.
*/ -}}

{{- define "o365mailer.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: o365mailer
{{- end }}

{{- /* What a Service, a Deployment and a disruption budget find a role's pods by. Call with (dict "root" $ "role" "webhook"). */ -}}
{{- define "o365mailer.selector" -}}
app.kubernetes.io/name: o365mailer
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- /* An image reference; a digest wins over a tag. Call with (dict "root" $ "image" .Values.sidecar.image). */ -}}
{{- define "o365mailer.image" -}}
{{- printf "%s/%s" (.image.registry | default .root.Values.image.registry) .image.repository -}}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .root.Chart.AppVersion }}{{ end -}}
{{- end }}
