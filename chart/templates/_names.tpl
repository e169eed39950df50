{{- define "albacore.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "albacore.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else -}}
{{- $name := include "albacore.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "albacore.selector" -}}
app.kubernetes.io/name: {{ include "albacore.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "albacore.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "albacore.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.additionalLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "albacore.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "albacore.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* key=value pairs of a map, in the order of their keys, with commas between */ -}}
{{- define "albacore.pairs" -}}
{{- $pairs := list -}}
{{- range $key, $value := . -}}
{{- $pairs = append $pairs (printf "%s=%v" $key $value) -}}
{{- end -}}
{{- join "," $pairs -}}
{{- end }}

{{- /* The class as an object {name, create, default} and {params: whether its parameters come with the chart}, whichever
       way it was written. create: false leaves both to somebody else. */ -}}
{{- define "albacore.class" -}}
{{- $class := dict "name" "alb" "create" .Values.createIngressClassResource "default" .Values.ingressClassConfig.default "params" .Values.ingressClassParams.create -}}
{{- if kindIs "map" .Values.ingressClass -}}
{{- range $key, $value := .Values.ingressClass -}}
{{- $_ := set $class $key $value -}}
{{- end -}}
{{- if hasKey .Values.ingressClass "create" -}}
{{- $_ := set $class "params" (and .Values.ingressClass.create .Values.ingressClassParams.create) -}}
{{- end -}}
{{- else if .Values.ingressClass -}}
{{- $_ := set $class "name" .Values.ingressClass -}}
{{- end -}}
{{- $_ := set $class "paramsName" (default $class.name .Values.ingressClassParams.name) -}}
{{- toJson $class -}}
{{- end }}

{{- /* Endpoints as a map, also when written service=URL,service=URL */ -}}
{{- define "albacore.endpoints" -}}
{{- $endpoints := dict -}}
{{- if kindIs "string" .Values.awsApiEndpoints -}}
{{- range splitList "," .Values.awsApiEndpoints -}}
{{- $pair := splitn "=" 2 . -}}
{{- if $pair._0 -}}
{{- $_ := set $endpoints (trim $pair._0) (default "" $pair._1) -}}
{{- end -}}
{{- end -}}
{{- else if .Values.awsApiEndpoints -}}
{{- $endpoints = .Values.awsApiEndpoints -}}
{{- end -}}
{{- toJson $endpoints -}}
{{- end }}

{{- /* The webhook's MutatingWebhookConfiguration; short enough for its Service to be a host */ -}}
{{- define "albacore.webhook" -}}
{{- include "albacore.fullname" . | trunc 47 | trimSuffix "-" }}-webhook
{{- end }}

{{- define "albacore.webhookPort" -}}
{{- default 9443 .Values.webhookBindPort -}}
{{- end }}

{{- /* Where the webhook's certificate comes from: own, cert-manager, or values */ -}}
{{- define "albacore.webhookCertificate" -}}
{{- if .Values.enableCertManager -}}
cert-manager
{{- else if (.Values.webhookTLS | default dict).cert -}}
values
{{- else -}}
own
{{- end }}
{{- end }}

{{- /* The Secret with the certificate: another for each source, since each is somebody else's and of another type */ -}}
{{- define "albacore.webhookSecret" -}}
{{- include "albacore.webhook" . }}-{{ get (dict "own" "keys" "values" "tls" "cert-manager" "cert-manager") (include "albacore.webhookCertificate" .) }}
{{- end }}

{{- /* The labels that the webhook heeds, as keys of an object; none where there is no webhook. Values are missing where those of
       an older release are used again. */ -}}
{{- define "albacore.webhookLabels" -}}
{{- $labels := dict -}}
{{- if (.Values.webhook | default dict).enabled -}}
{{- if ne (toString .Values.enablePodReadinessGateInject) "false" -}}
{{- $_ := set $labels "elbv2.k8s.aws/pod-readiness-gate-inject" true -}}
{{- end -}}
{{- /* Before Kubernetes 1.30 an API server drops the sleep and refuses the hook that is left. */ -}}
{{- if semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version -}}
{{- $_ := set $labels "albacore.dev/deregister-before-terminate" true -}}
{{- end -}}
{{- end -}}
{{- toJson $labels -}}
{{- end }}

{{- define "albacore.metricsPort" -}}
{{- if .Values.metricsBindAddr -}}
{{- splitList ":" .Values.metricsBindAddr | last -}}
{{- else -}}
{{- .Values.ports.metrics -}}
{{- end -}}
{{- end }}
