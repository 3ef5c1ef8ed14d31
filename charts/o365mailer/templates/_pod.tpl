{{- /* What both roles' pods share. Each is called with (dict "root" $ "role" "webhook"). */ -}}

{{- define "o365mailer.pod.metadata" -}}
{{- $own := index .root.Values .role -}}
labels:
  {{- include "o365mailer.selector" . | nindent 2 }}
  {{- with merge (dict) ($own.podLabels | default dict) (.root.Values.commonLabels | default dict) }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $own.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The first lines of a pod's spec. */ -}}
{{- define "o365mailer.pod.placement" -}}
{{- $own := index .root.Values .role -}}
{{- with include "o365mailer.pullSecrets" .root | fromYamlArray }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "o365mailer.selector" . | nindent 8 }}
{{- if dig "hostNetwork" false ($own.podSpec | default dict) }}
# Without this a pod on the host's network does not ask the cluster's DNS.
dnsPolicy: ClusterFirstWithHostNet
{{- end }}
{{- end }}

{{- /*
On the host's network, a new pod and the old one cannot share a node, because both want the same ports. So
one pod has to go first, or a rollout would wait for ever on a cluster with as many nodes as replicas.
*/ -}}
{{- define "o365mailer.strategy" -}}
{{- $host := dig "hostNetwork" false ((index .root.Values .role).podSpec | default dict) -}}
type: RollingUpdate
rollingUpdate:
  maxUnavailable: {{ $host | ternary 1 0 }}
  maxSurge: {{ $host | ternary 0 1 }}
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
  value: {{ printf "[::]:%v" ((index .root.Values .role).healthPort | default 9025) | quote }}
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
