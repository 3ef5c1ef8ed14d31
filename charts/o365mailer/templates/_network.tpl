{{- /* Who may read a role's metrics. The kubelet's probes come from the node, which no policy keeps out. */ -}}
{{- define "o365mailer.network.metrics" -}}
- ports:
    - {protocol: TCP, port: health}
  {{- with .root.Values.networkPolicy.metricsFrom }}
  from:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- /*
Hosts of one of the two lists, joined by commas. An older release's empty list, which `helm upgrade --reuse-values`
hands on, is none. Call with (list $ "authority").
*/ -}}
{{- define "o365mailer.allowedHosts" -}}
{{- $lists := (index . 0).Values.allowedHosts -}}
{{- if kindIs "map" $lists -}}{{- index $lists (index . 1) | default list | join "," -}}{{- end -}}
{{- end }}

{{- /*
Ports that the controller connects to, as a YAML list: Entra and the API server (443, 6443), those that
allowedHosts.authority and httpsProxy name, and for the canary Exchange (587) and those of allowedHosts.submission.
*/ -}}
{{- define "o365mailer.network.ports" -}}
{{- $ports := list 443 6443 -}}
{{- $lists := list "authority" -}}
{{- if ne .Values.controller.canary false -}}
{{- $ports = append $ports 587 -}}
{{- $lists = append $lists "submission" -}}
{{- end -}}
{{- range $list := $lists -}}
{{- range include "o365mailer.allowedHosts" (list $ $list) | splitList "," -}}
{{- with regexFind ":[0-9]+$" . -}}{{- $ports = append $ports (trimPrefix ":" . | int) -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.controller.httpsProxy | default "" | trimSuffix "/" -}}
{{- $port := regexFind ":[0-9]+$" . -}}
{{- $ports = append $ports (ne $port "" | ternary (trimPrefix ":" $port | int) (hasPrefix "https:" . | ternary 443 80)) -}}
{{- end -}}
{{- $ports | uniq | toYaml -}}
{{- end }}
