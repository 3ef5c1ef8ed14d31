{{- /* Values that the schema cannot judge: each refusal says what to write instead. controller-deployment.yaml includes it. */ -}}
{{- define "o365mailer.refusals" -}}
{{- /* Helm itself looks only at the kubeVersion of the chart that it is called with, not at a dependency's. */ -}}
{{- if not (semverCompare .Chart.KubeVersion .Capabilities.KubeVersion.Version) -}}
{{- fail (printf "o365mailer needs Kubernetes %s, and this is %s. `helm template` asks no cluster: give it --kube-version with yours" .Chart.KubeVersion .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- include "o365mailer.refusals.foreign" . -}}
{{- include "o365mailer.refusals.secrets" . -}}
{{- /* One list would let a mail server for tests ask for client secrets. */ -}}
{{- if and (kindIs "slice" .Values.allowedHosts) .Values.allowedHosts -}}
{{- fail "allowedHosts is no list: put hosts that give tokens into allowedHosts.authority (they get client secrets), and hosts that take mail into allowedHosts.submission" -}}
{{- end -}}
{{- include "o365mailer.refusals.labels" . -}}
{{- include "o365mailer.refusals.ports" (dict "root" . "role" "controller") -}}
{{- include "o365mailer.refusals.ports" (dict "root" . "role" "webhook") -}}
{{- if eq (int .Values.webhook.port) (int (.Values.webhook.healthPort | default 9025)) -}}
{{- fail (printf "webhook.port and webhook.healthPort are both %v: they need two ports" .Values.webhook.port) -}}
{{- end -}}
{{- include "o365mailer.refusals.hostPorts" . -}}
{{- $test := .Values.test | default dict -}}
{{- if and $test.mailer (not $test.sender) -}}
{{- fail "test.mailer needs test.sender: the address of its mailbox" -}}
{{- end -}}
{{- if and (not $test.mailer) (or $test.sender $test.recipient) -}}
{{- fail "test.sender and test.recipient need test.mailer: namespace/name of the mailer that sends the mail" -}}
{{- end -}}
{{- /* A value is in the release's Secret and in the Deployment, for all who may read those. */ -}}
{{- if contains "@" (.Values.controller.httpsProxy | default "") -}}
{{- fail "controller.httpsProxy must not hold a user or a password: put the whole URL into a Secret, as its key url, and name the Secret in controller.httpsProxySecret" -}}
{{- end -}}
{{- end }}

{{- /*
Keys that other charts have, or that this one had. The schema lets them through, so that this message and not "not
allowed" is the answer. Empty ones pass: with `helm upgrade --reuse-values`, the older chart's own defaults are among the
values, and the user never wrote them.
*/ -}}
{{- define "o365mailer.refusals.foreign" -}}
{{- $empty := list "null" "{}" "[]" "\"\"" -}}
{{- range $key, $instead := fromYaml (include "o365mailer.foreign" .) -}}
{{- if not (has (index $.Values $key | toJson) $empty) -}}
{{- fail (printf "%s is no value of this chart: %s" $key $instead) -}}
{{- end -}}
{{- end -}}
{{- range $role := list "controller" "webhook" -}}
{{- range $key, $instead := fromYaml (include "o365mailer.foreign.role" $role) -}}
{{- if not (has (index $.Values $role $key | toJson) $empty) -}}
{{- fail (printf "%s.%s is no value of this chart: %s" $role $key $instead) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "o365mailer.foreign" -}}
nameOverride: names are fixed, because one installation serves the whole cluster
fullnameOverride: names are fixed, because one installation serves the whole cluster
namespaceOverride: objects are made in the release's namespace; use helm --namespace
installCRDs: set crds.enabled
replicaCount: set controller.replicas or webhook.replicas
serviceAccount: set controller.serviceAccount.annotations or webhook.serviceAccount.annotations
resources: set controller.resources, webhook.resources or sidecar.resources
nodeSelector: set controller.podSpec.nodeSelector and webhook.podSpec.nodeSelector
tolerations: set controller.podSpec.tolerations and webhook.podSpec.tolerations
affinity: set controller.podSpec.affinity and webhook.podSpec.affinity
priorityClassName: set controller.podSpec.priorityClassName and webhook.podSpec.priorityClassName
extraDeploy: set extraObjects
extraManifests: set extraObjects
{{- end }}

{{- define "o365mailer.foreign.role" -}}
{{- range list "nodeSelector" "tolerations" "affinity" "priorityClassName" "topologySpreadConstraints" "hostNetwork" "dnsPolicy" "dnsConfig" "hostAliases" "runtimeClassName" "schedulerName" "terminationGracePeriodSeconds" "initContainers" }}
{{ . }}: set {{ $ }}.podSpec.{{ . }}
{{- end }}
{{- range list "livenessProbe" "readinessProbe" "startupProbe" "lifecycle" "envFrom" "env" "volumeMounts" }}
{{ . }}: set {{ $ }}.container.{{ . }}
{{- end }}
podSecurityContext: set {{ . }}.podSpec.securityContext
securityContext: set {{ . }}.container.securityContext, or {{ . }}.podSpec.securityContext for the pod
containerSecurityContext: set {{ . }}.container.securityContext
extraEnv: set {{ . }}.container.env
extraArgs: each flag has a variable, which {{ . }}.container.env sets
volumes: set {{ . }}.podSpec.volumes
extraVolumes: set {{ . }}.podSpec.volumes
extraVolumeMounts: set {{ . }}.container.volumeMounts
extraContainers: add an entry with restartPolicy Always to {{ . }}.podSpec.initContainers
replicaCount: set {{ . }}.replicas
serviceAccountName: the name is fixed, and {{ . }}.serviceAccount.annotations annotates the account
image: both roles have one image; set image
{{- end }}

{{- /* rbac.secrets and watchNamespaces must say the same. */ -}}
{{- define "o365mailer.refusals.secrets" -}}
{{- $mode := include "o365mailer.rbac.secrets" . -}}
{{- if and (eq $mode "namespaces") (empty .Values.watchNamespaces) -}}
{{- fail "rbac.secrets is namespaces, and watchNamespaces names none: list the namespaces there whose Secrets the controller may read" -}}
{{- end -}}
{{- if and (ne $mode "namespaces") .Values.watchNamespaces -}}
{{- fail (printf "rbac.secrets is %s, which serves the mailers of all namespaces, and watchNamespaces is set: leave watchNamespaces empty, or set rbac.secrets to namespaces" $mode) -}}
{{- end -}}
{{- end }}

{{- define "o365mailer.refusals.labels" -}}
{{- $ours := list "helm.sh/chart" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "app.kubernetes.io/part-of" "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" -}}
{{- $given := dict "commonLabels" .Values.commonLabels "controller.podLabels" .Values.controller.podLabels "webhook.podLabels" .Values.webhook.podLabels -}}
{{- range $value, $labels := $given -}}
{{- range $key, $_ := $labels -}}
{{- if has $key $ours -}}
{{- fail (printf "%s must not set %s: the chart sets it, and finds its pods by such labels" $value $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* On the host's network, a pod's ports are the node's. Call with (dict "root" $ "role" "webhook"). */ -}}
{{- define "o365mailer.refusals.ports" -}}
{{- $own := index .root.Values .role -}}
{{- if dig "hostNetwork" false ($own.podSpec | default dict) -}}
{{- $taken := dict "2379" "etcd" "2380" "etcd" "6443" "the API server" "10248" "the kubelet" "10249" "kube-proxy" "10250" "the kubelet" "10255" "the kubelet" "10256" "kube-proxy" "10257" "the controller manager" "10259" "the scheduler" -}}
{{- range $name := eq .role "webhook" | ternary (list "port" "healthPort") (list "healthPort") -}}
{{- with index $taken (toString (index $own $name)) -}}
{{- fail (printf "%s.podSpec.hostNetwork is true, and on a node %s listens on port %v: set %s.%s to a port that is free on your nodes, such as 9443" $.role . (index $own $name) $.role $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* Two roles on the host's network may meet on a node. */ -}}
{{- define "o365mailer.refusals.hostPorts" -}}
{{- $controller := .Values.controller -}}
{{- $webhook := .Values.webhook -}}
{{- if and (dig "hostNetwork" false ($controller.podSpec | default dict)) (dig "hostNetwork" false ($webhook.podSpec | default dict)) -}}
{{- range $name := list "port" "healthPort" -}}
{{- if eq (int (index $webhook $name | default 9025)) (int ($controller.healthPort | default 9025)) -}}
{{- fail (printf "controller and webhook are both on the host's network, and controller.healthPort and webhook.%s are both %v: they need different ports" $name $controller.healthPort) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}
