{{- /*
`helm test`: an annotated Job, in a namespace of its own (the webhook leaves the release's alone) or in the one of
test.mailer. Helm makes both with the rights of the person who calls it, and deletes them whatever the result is.
A Job and not a pod: when the webhook refuses a pod, Helm stops at once and would leave the namespace.
*/ -}}
{{- define "o365mailer.test.name" -}}
o365mailer-helm-test
{{- end }}

{{- define "o365mailer.test.namespace" -}}
{{- $test := .Values.test | default dict -}}
{{- if $test.mailer }}{{ splitList "/" $test.mailer | first }}{{ else }}{{ include "o365mailer.test.name" . }}{{ end -}}
{{- end }}

{{- define "o365mailer.test.hook" -}}
helm.sh/hook: test
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded,hook-failed
helm.sh/hook-output-log-policy: hook-succeeded,hook-failed
{{- end }}
