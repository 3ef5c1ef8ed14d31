{{- /* What both roles' pods share. Each is called with (dict "root" $ "role" "webhook"). */ -}}

{{- define "o365mailer.pod.metadata" -}}
{{- $own := index .root.Values .role -}}
labels:
  {{- include "o365mailer.selector" . | nindent 2 }}
  {{- with $own.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $own.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "o365mailer.pod.placement" -}}
{{- $own := index .root.Values .role -}}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
topologySpreadConstraints:
  {{- with $own.topologySpreadConstraints }}
  {{- toYaml . | nindent 2 }}
  {{- else }}
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "o365mailer.selector" . | nindent 8 }}
  {{- end }}
{{- end }}

{{- /* Pod Security "restricted". No uid here: the image's is 65532, and OpenShift gives one of its own. */ -}}
{{- define "o365mailer.pod.security" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "o365mailer.container.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "o365mailer.container.image" -}}
image: {{ include "o365mailer.image" (dict "root" .root "image" .root.Values.image) }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- end }}

{{- define "o365mailer.container.identity" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: O365MAILER_LOG_LEVEL
  value: {{ .root.Values.logLevel }}
- name: O365MAILER_HEALTH
  value: "[::]:9025"
{{- end }}

{{- define "o365mailer.container.probes" -}}
startupProbe:
  httpGet:
    path: /livez
    port: health
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet:
    path: /livez
    port: health
readinessProbe:
  httpGet:
    path: /readyz
    port: health
  periodSeconds: 5
{{- end }}

{{- /* A value is in the release's Secret and in the Deployment, for all who may read those. */ -}}
{{- define "o365mailer.proxy" -}}
{{- if contains "@" .Values.controller.httpsProxy }}
{{- fail "controller.httpsProxy must not hold a user or a password: put the whole URL into a Secret, as its key url, and name the Secret in controller.httpsProxySecret" }}
{{- end }}
{{- .Values.controller.httpsProxy }}
{{- end }}
