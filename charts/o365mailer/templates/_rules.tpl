{{- /* The controller's rights on mailers: in a ClusterRole, or in a Role for each of watchNamespaces. */ -}}
{{- define "o365mailer.rules.mailers" -}}
- apiGroups: [o365mailer.dev]
  resources: [o365mailers]
  verbs: [get, list, watch]
- apiGroups: [o365mailer.dev]
  resources: [o365mailers/status]
  verbs: [patch]
# By name, never listed or watched: a credential Secret is read because a mailer names it.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, update]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [get, create, patch]
{{- end }}
