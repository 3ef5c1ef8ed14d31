{{- /*
The two overlays of a role: its values podSpec and container, merged deeply over the chart's own pod spec and container.
They stand for a hundred values of other charts, and `kubectl explain pod.spec` is their reference.
*/ -}}

{{- /*
A role's pod spec. Call with (dict "root" $ "role" "webhook"); the template o365mailer.webhook.pod is the chart's own.
Lists whose items have names grow by the user's items. Every other list is replaced, as Helm does it.
*/ -}}
{{- define "o365mailer.pod.spec" -}}
{{- $spec := include (printf "o365mailer.%s.pod" .role) . | fromYaml -}}
{{- $container := first $spec.containers -}}
{{- $own := index .root.Values .role -}}
{{- $overSpec := deepCopy ($own.podSpec | default dict) -}}
{{- $overContainer := deepCopy ($own.container | default dict) -}}
{{- include "o365mailer.overlay.lists" (dict "path" (printf "%s.podSpec" .role) "theirs" $overSpec "keys" (list "volumes" "imagePullSecrets")) -}}
{{- include "o365mailer.overlay.lists" (dict "path" (printf "%s.container" .role) "theirs" $overContainer "keys" (list "env" "volumeMounts")) -}}
{{- include "o365mailer.overlay.owned" (dict "role" .role "spec" $spec "container" $container "overSpec" $overSpec "overContainer" $overContainer) -}}
{{- include "o365mailer.overlay.append" (dict "ours" $spec "theirs" $overSpec "keys" (list "volumes" "imagePullSecrets")) -}}
{{- include "o365mailer.overlay.append" (dict "ours" $container "theirs" $overContainer "keys" (list "env" "volumeMounts")) -}}
{{- $container = mustMergeOverwrite $container $overContainer -}}
{{- $spec = mustMergeOverwrite $spec $overSpec -}}
{{- toYaml (set $spec "containers" (list $container)) -}}
{{- end }}

{{- /* Refuses these where they are no lists. An empty one, or null, adds nothing: it must not remove ours. */ -}}
{{- define "o365mailer.overlay.lists" -}}
{{- range $key := .keys -}}
{{- if not (index $.theirs $key) -}}
{{- $_ := unset $.theirs $key -}}
{{- else if not (kindIs "slice" (index $.theirs $key)) -}}
{{- fail (printf "%s.%s must be a list, and is a %s" $.path $key (kindOf (index $.theirs $key))) -}}
{{- else -}}
{{- range $number, $item := index $.theirs $key -}}
{{- if not (kindIs "map" $item) -}}
{{- fail (printf "%s.%s[%d] must have keys, such as name" $.path $key $number) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* Puts our items before the user's in these lists. */ -}}
{{- define "o365mailer.overlay.append" -}}
{{- range $key := .keys -}}
{{- if index $.theirs $key -}}
{{- $_ := set $.theirs $key (concat (index $.ours $key | default list) (index $.theirs $key)) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* Refuses what the chart owns, and says what to write instead. */ -}}
{{- define "o365mailer.overlay.owned" -}}
{{- range $key, $instead := fromYaml (include "o365mailer.overlay.podSpecKeys" .role) -}}
{{- if hasKey $.overSpec $key -}}
{{- fail (printf "%s.podSpec.%s belongs to the chart: %s" $.role $key $instead) -}}
{{- end -}}
{{- end -}}
{{- range $key, $instead := fromYaml (include "o365mailer.overlay.containerKeys" .role) -}}
{{- if hasKey $.overContainer $key -}}
{{- fail (printf "%s.container.%s belongs to the chart: %s" $.role $key $instead) -}}
{{- end -}}
{{- end -}}
{{- $values := fromYaml (include "o365mailer.overlay.variables" .role) -}}
{{- $ours := list -}}
{{- range .container.env -}}{{- $ours = append $ours .name -}}{{- end -}}
{{- range .overContainer.env -}}
{{- if has .name $ours -}}
{{- fail (printf "%s.container.env sets %s, which belongs to the chart: %s" $.role .name (index $values .name | default "leave it out")) -}}
{{- end -}}
{{- end -}}
{{- $ours = list -}}
{{- range .spec.volumes -}}{{- $ours = append $ours .name -}}{{- end -}}
{{- range .overSpec.volumes -}}
{{- if has .name $ours -}}
{{- fail (printf "%s.podSpec.volumes has a volume %s, which belongs to the chart: give yours another name" $.role .name) -}}
{{- end -}}
{{- end -}}
{{- $ours = list -}}
{{- range .container.volumeMounts -}}{{- $ours = append $ours .mountPath -}}{{- end -}}
{{- range .overContainer.volumeMounts -}}
{{- if has .mountPath $ours -}}
{{- fail (printf "%s.container.volumeMounts mounts %s, which belongs to the chart: mount yours elsewhere" $.role .mountPath) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* Keys of podSpec that the chart owns, and what to write instead. Called with the role. */ -}}
{{- define "o365mailer.overlay.podSpecKeys" -}}
containers: {{ printf "%s.container changes its container, and an entry of %s.podSpec.initContainers with restartPolicy Always adds one that runs next to it" . . }}
serviceAccountName: {{ printf "the name is fixed, and %s.serviceAccount.annotations annotates the account" . }}
serviceAccount: {{ printf "the name is fixed, and %s.serviceAccount.annotations annotates the account" . }}
automountServiceAccountToken: the controller needs its token, and the webhook must have none; leave it out
restartPolicy: a Deployment allows only Always; leave it out
{{- end }}

{{- /* Keys of container that the chart owns, and what to write instead. Called with the role. */ -}}
{{- define "o365mailer.overlay.containerKeys" -}}
name: it is fixed; leave it out
image: set image.registry, image.repository, image.tag or image.digest
imagePullPolicy: set image.pullPolicy
command: it is fixed; leave it out
args: {{ printf "each flag has a variable, which %s.container.env sets" . }}
ports: set {{ eq . "webhook" | ternary "webhook.port or webhook.healthPort" "controller.healthPort" }}
resources: {{ printf "set %s.resources" . }}
{{- end }}

{{- /* Variables that the chart sets, and the value for each. Called with the role. */ -}}
{{- define "o365mailer.overlay.variables" -}}
O365MAILER_LOG_LEVEL: set logLevel
O365MAILER_HEALTH: {{ printf "set %s.healthPort" . }}
O365MAILER_ALLOW_AUTHORITY_HOSTS: set allowedHosts.authority
O365MAILER_ALLOW_SUBMISSION_HOSTS: set allowedHosts.submission
O365MAILER_WATCH_NAMESPACES: set watchNamespaces
O365MAILER_HTTPS_PROXY: set controller.httpsProxy or controller.httpsProxySecret
O365MAILER_LEASE_DURATION: set controller.leaseDuration
O365MAILER_RECONCILE_INTERVAL: set controller.reconcileInterval
O365MAILER_WEBHOOK_LISTEN: set webhook.port
O365MAILER_SIDECAR_IMAGE: set sidecar.image
O365MAILER_SIDECAR_PULL_POLICY: set sidecar.image.pullPolicy
O365MAILER_SIDECAR_RESOURCES: set sidecar.resources
O365MAILER_SIDECAR_LOG_LEVEL: set sidecar.logLevel
O365MAILER_SIDECAR_SPOOL: set sidecar.spool
O365MAILER_SIDECAR_PULL_SECRETS: set sidecar.imagePullSecrets
O365MAILER_OPENSHIFT: set openshift
{{- end }}
