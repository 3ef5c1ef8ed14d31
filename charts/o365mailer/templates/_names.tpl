{{- /*
Names are fixed, not derived from the release: the CRD and the webhook configuration make one installation a cluster.
*/ -}}

{{- /* On every object. commonLabels come last; _refusals.tpl refuses those that are set here. */ -}}
{{- define "o365mailer.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: o365mailer
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* What a Service, a Deployment and a disruption budget find a role's pods by. Call with (dict "root" $ "role" "webhook"). */ -}}
{{- define "o365mailer.selector" -}}
app.kubernetes.io/name: o365mailer
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- /* The registry of both images: the chart's own value wins over the one that a parent chart gives to all its charts. */ -}}
{{- define "o365mailer.registry" -}}
{{- .Values.image.registry | default (dig "imageRegistry" "" (.Values.global | default dict)) | default "localhost" -}}
{{- end }}

{{- /* An image reference; a digest wins over a tag. Call with (dict "root" $ "image" .Values.sidecar.image). */ -}}
{{- define "o365mailer.image" -}}
{{- printf "%s/%s" (.image.registry | default (include "o365mailer.registry" .root)) .image.repository -}}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ .image.tag | default .root.Chart.AppVersion }}{{ end -}}
{{- end }}

{{- /* imagePullSecrets of the operator's pods, as a YAML list. Parent charts write names, or references as Kubernetes has them. */ -}}
{{- define "o365mailer.pullSecrets" -}}
{{- $references := list -}}
{{- range concat (.Values.imagePullSecrets | default list) (dig "imagePullSecrets" list (.Values.global | default dict)) }}
{{- $references = append $references (kindIs "string" . | ternary (dict "name" .) .) }}
{{- end }}
{{- $references | uniq | toYaml }}
{{- end }}

{{- /* "true" on OpenShift, whose own API group is served nowhere else. */ -}}
{{- define "o365mailer.openshift" -}}
{{- if eq (toString (.Values.openshift | default "false")) "auto" -}}
{{- .Capabilities.APIVersions.Has "security.openshift.io/v1" -}}
{{- else -}}
{{- .Values.openshift | default false -}}
{{- end -}}
{{- end }}

{{- /* A CRD's metadata, before its name. Kept unless "false" was said: values of an older release say nothing. */ -}}
{{- define "o365mailer.crd.metadata" -}}
{{- if ne (toString .Values.crds.keep) "false" -}}
annotations:
  helm.sh/resource-policy: keep
{{ end -}}
labels:
  {{- include "o365mailer.labels" . | nindent 2 }}
{{- end }}
