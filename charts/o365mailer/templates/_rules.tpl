{{- /* How the controller gets its rights on Secrets; empty in the values of an older release. */ -}}
{{- define "o365mailer.rbac.secrets" -}}
{{- dig "secrets" "" (.Values.rbac | default dict) | default (empty .Values.watchNamespaces | ternary "cluster" "namespaces") -}}
{{- end }}

{{- /* The controller's rights on mailers: in a ClusterRole, or in a Role for each of watchNamespaces. */ -}}
{{- define "o365mailer.rules.mailers" -}}
- apiGroups: [o365mailer.dev]
  resources: [o365mailers]
  verbs: [get, list, watch]
- apiGroups: [o365mailer.dev]
  resources: [o365mailers/status]
  verbs: [patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [get, create, patch]
{{- end }}
