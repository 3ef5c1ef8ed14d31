{{- /* What both entries of the webhook configuration share. */ -}}

{{- define "o365mailer.admission.service" -}}
service:
  name: o365mailer-webhook
  namespace: {{ .Release.Namespace }}
  port: 443
{{- end }}

{{- define "o365mailer.admission.common" -}}
admissionReviewVersions: [v1]
sideEffects: None
matchPolicy: Equivalent
failurePolicy: {{ .Values.webhook.failurePolicy }}
reinvocationPolicy: IfNeeded
timeoutSeconds: {{ .Values.webhook.timeoutSeconds }}
# What the cluster itself needs to heal never waits for us, and neither do we.
namespaceSelector:
  matchExpressions:
    - key: kubernetes.io/metadata.name
      operator: NotIn
      values: [kube-system, kube-node-lease, kube-public, {{ .Release.Namespace }}]
    {{- with dig "matchExpressions" list (.Values.webhook.namespaceSelector | default dict) }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with dig "matchLabels" dict (.Values.webhook.namespaceSelector | default dict) }}
  matchLabels:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
