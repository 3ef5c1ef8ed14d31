{{- /* What the objects for the Prometheus operator share. */ -}}

{{- /* "true" if an object of this kind is to be rendered. Call with (dict "root" $ "kind" "PodMonitor"). */ -}}
{{- define "o365mailer.monitoring.wanted" -}}
{{- $monitoring := .root.Values.monitoring | default dict -}}
{{- $served := .root.Capabilities.APIVersions.Has (printf "monitoring.coreos.com/v1/%s" .kind) -}}
{{- if $monitoring.enabled -}}
{{- if or $served (eq $monitoring.renderMode "alwaysRender") -}}
true
{{- else if eq $monitoring.renderMode "failIfMissing" -}}
{{- fail (printf "monitoring.enabled is true, and this cluster does not serve %s of monitoring.coreos.com/v1. Install the Prometheus operator first; or set monitoring.renderMode to skipIfMissing, or with helm template add --api-versions monitoring.coreos.com/v1/%s" .kind .kind) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* The kinds that are wanted and left out, comma-separated. */ -}}
{{- define "o365mailer.monitoring.missing" -}}
{{- $missing := list -}}
{{- if dig "enabled" false (.Values.monitoring | default dict) -}}
{{- range list "PodMonitor" "ServiceMonitor" "PrometheusRule" -}}
{{- if not (include "o365mailer.monitoring.wanted" (dict "root" $ "kind" .)) -}}
{{- $missing = append $missing . -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- join ", " $missing -}}
{{- end }}

{{- define "o365mailer.monitoring.metadata" -}}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "o365mailer.labels" . | nindent 2 }}
  {{- with .Values.monitoring.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "o365mailer.monitoring.interval" -}}
{{- with .Values.monitoring.interval }}
interval: {{ . }}
{{- end }}
{{- end }}
