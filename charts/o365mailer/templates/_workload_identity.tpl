{{- /* The names of the ServiceAccounts in workloadIdentity.serviceAccounts, as JSON, by namespace. */ -}}
{{- define "o365mailer.workloadIdentity" -}}
{{- $names := dict -}}
{{- range dig "serviceAccounts" list (.Values.workloadIdentity | default dict) -}}
{{- $_ := set $names .namespace (append (get $names .namespace | default list) .name | uniq | sortAlpha) -}}
{{- end -}}
{{- toJson $names -}}
{{- end }}
