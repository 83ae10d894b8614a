{{- define "layer-common.pod-disruption-budget" -}}
{{- if .Values.podDisruptionBudget.enabled -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "layer-common.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ .Values.podDisruptionBudget.maxUnavailable }}
  selector:
    matchLabels:
      {{- include "layer-common.selector-labels" . | nindent 6 }}
{{- end }}
{{- end }}

{{- define "layer-common.horizontal-pod-autoscaler" -}}
{{- if .Values.autoscaling.enabled -}}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  {{- include "layer-common.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ include "layer-common.fullname" . }}
  minReplicas: {{ .Values.autoscaling.minReplicas }}
  maxReplicas: {{ .Values.autoscaling.maxReplicas }}
  metrics:
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ .Values.autoscaling.targetCPUUtilizationPercentage }}
{{- end }}
{{- end }}

{{- define "layer-common.service-monitor" -}}
{{- if .Values.serviceMonitor.enabled -}}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  {{- include "layer-common.metadata" . | nindent 2 }}
    {{- with .Values.serviceMonitor.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  selector:
    matchLabels:
      {{- include "layer-common.selector-labels" . | nindent 6 }}
  endpoints:
    - port: ops
      path: /metrics
      interval: {{ .Values.serviceMonitor.interval }}
{{- end }}
{{- end }}

{{/*
`helm test`: the service is ready where others look for it. Its pod has a name label of its own, so
that no Service or budget takes it for one of the service.
*/}}
{{- define "layer-common.test" -}}
apiVersion: v1
kind: Pod
metadata:
  name: {{ include "layer-common.fullname" . }}-test
  namespace: {{ .Release.Namespace }}
  labels:
    app.kubernetes.io/name: {{ .Chart.Name }}-test
    app.kubernetes.io/instance: {{ .Release.Name }}
    {{- include "layer-common.shared-labels" . | nindent 4 }}
  annotations:
    helm.sh/hook: test
    helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
spec:
  {{- include "layer-common.pod-settings" . | nindent 2 }}
  restartPolicy: Never
  activeDeadlineSeconds: 60
  containers:
    - name: readiness
      {{- include "layer-common.container-settings" . | nindent 6 }}
      command:
        - python3
        - -c
        - import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())
        - http://{{ include "layer-common.headless-name" . }}:{{ include "layer-common.ops-port" . }}/readyz
      resources:
        requests: {cpu: 50m, memory: 32Mi}
        limits: {memory: 64Mi}
{{- end }}

{{/* The commands that come after an installation. */}}
{{- define "layer-common.next-steps" -}}
{{- $workload := printf "%s/%s" (empty .Values.persistence | ternary "deployment" "statefulset") (include "layer-common.fullname" .) -}}
Wait until it is ready, then try it:

  kubectl --namespace {{ .Release.Namespace }} rollout status {{ $workload }}
  helm --namespace {{ .Release.Namespace }} test {{ .Release.Name }}

Why it is not ready, component by component:

  kubectl --namespace {{ .Release.Namespace }} port-forward {{ $workload }} {{ include "layer-common.ops-port" . }}
  curl http://127.0.0.1:{{ include "layer-common.ops-port" . }}/readyz
{{- end }}
