{{- /* Values of the chart of the AWS Load Balancer Controller that only tune it, or belong to what albacore does not have */ -}}
{{- define "albacore.idle" -}}
albGatewayMaxConcurrentReconciles awsApiThrottle awsMaxRetries cluster clusterSecretsPermissions creator
enableEndpointSlices enableServiceMutatorWebhook enableShield enableWaf enableWafv2
gatewayClassMaxConcurrentReconciles globalAcceleratorMaxConcurrentReconciles
globalAcceleratorMaxExponentialBackoffDelay ingressMaxConcurrentReconciles keepTLSSecret
lbStabilizationMonitorInterval loadBalancerClass nlbGatewayMaxConcurrentReconciles serviceMaxConcurrentReconciles
serviceMutatorWebhookConfig syncPeriod targetgroupbindingMaxConcurrentReconciles
targetgroupbindingMaxExponentialBackoffDelay targetgroupbindingRequeueDuration webhookConfig
{{- end }}

{{- /* Refuses, all at once, values of that chart that would change what is made and that albacore does not have */ -}}
{{- define "albacore.refuse" -}}
{{- $wrong := list -}}
{{- $values := .Values -}}
{{- if not .Values.clusterName -}}
{{- $wrong = append $wrong "clusterName is missing: --set clusterName=<the name AWS resources of this cluster are tagged with>" -}}
{{- end -}}
{{- range $key, $instead := dict
    "backendSecurityGroup" "albacore makes the shared security group itself; leave it out, or write the group into security-groups of each Ingress"
    "disableRestrictedSecurityGroupRules" "albacore opens the ports of targets and no others; leave it out"
    "maxTargetsPerTargetGroup" "albacore registers every target; leave it out"
    "serviceTargetENISGTags" "leave it out, and tag one security group of each node with kubernetes.io/cluster/<cluster name>"
    "vpcTags" "albacore does not look for a VPC by tags; give its id with vpcId"
-}}
{{- if get $values $key -}}
{{- $wrong = append $wrong (printf "%s: %s" $key $instead) -}}
{{- end -}}
{{- end -}}
{{- range $key := list "tolerateNonExistentBackendService" "tolerateNonExistentBackendAction" -}}
{{- if eq (get $values $key | toString) "false" -}}
{{- $wrong = append $wrong (printf "%s: what concerns one Ingress never stops its group; leave it out" $key) -}}
{{- end -}}
{{- end -}}
{{- if (.Values.autoscaling | default dict).enabled -}}
{{- $wrong = append $wrong "autoscaling.enabled: one replica acts and the others stand by, more do not help; leave it out and set replicaCount" -}}
{{- end -}}
{{- $tls := .Values.webhookTLS | default dict -}}
{{- if and (or $tls.caCert $tls.cert $tls.key) (not (and $tls.caCert $tls.cert $tls.key)) -}}
{{- $wrong = append $wrong "webhookTLS: caCert, cert and key belong together; give all three, or none for a certificate that albacore makes itself" -}}
{{- end -}}
{{- if (.Values.certDiscovery | default dict).allowedCertificateAuthorityARNs -}}
{{- $wrong = append $wrong "certDiscovery.allowedCertificateAuthorityARNs: albacore finds no certificates by itself yet; leave it out and name certificates with certificate-arn" -}}
{{- end -}}
{{- if (.Values.certManagement | default dict).defaultPCAARN -}}
{{- $wrong = append $wrong "certManagement.defaultPCAARN: albacore issues no certificates yet; leave it out and name certificates with certificate-arn" -}}
{{- end -}}
{{- $gates := (.Values.controllerConfig | default dict).featureGates | default dict -}}
{{- range $gate, $is := dict
    "ALBSingleSubnet" "false" "ALBTargetControlAgent" "false" "EnableCertificateManagement" "false"
    "EnableDefaultTagsLowPriority" "false" "EnableIPTargetType" "true" "EndpointsFailOpen" "true"
    "EnhancedDefaultBehavior" "false" "GlobalAcceleratorController" "false" "IngressPlanAnnotation" "false"
    "ListenerRulesTagging" "true" "SubnetDiscoveryByReachability" "true" "SubnetsClusterTagCheck" "true"
-}}
{{- if and (hasKey $gates $gate) (ne (get $gates $gate | toString) $is) -}}
{{- $wrong = append $wrong (printf "controllerConfig.featureGates.%s: albacore has no gates and acts as with %s: %s; leave it out if that is what you want" $gate $gate $is) -}}
{{- end -}}
{{- end -}}
{{- if $wrong -}}
{{- fail (printf "the values cannot be used:\n  %s" (join "\n  " $wrong)) -}}
{{- end -}}
{{- end }}
