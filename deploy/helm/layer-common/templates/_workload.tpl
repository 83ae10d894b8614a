{{- define "layer-common.deployment" -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  {{- include "layer-common.metadata" . | nindent 2 }}
spec:
  {{- if not .Values.autoscaling.enabled }}
  replicas: {{ .Values.replicaCount }}
  {{- end }}
  revisionHistoryLimit: 3
  strategy:
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
  selector:
    matchLabels:
      {{- include "layer-common.selector-labels" . | nindent 6 }}
  template:
    {{- include "layer-common.pod-template" . | nindent 4 }}
{{- end }}

{{/* A workload with a data volume for each pod. */}}
{{- define "layer-common.statefulset" -}}
apiVersion: apps/v1
kind: StatefulSet
metadata:
  {{- include "layer-common.metadata" . | nindent 2 }}
spec:
  replicas: {{ .Values.replicaCount }}
  revisionHistoryLimit: 3
  serviceName: {{ include "layer-common.headless-name" . }}
  selector:
    matchLabels:
      {{- include "layer-common.selector-labels" . | nindent 6 }}
  template:
    {{- include "layer-common.pod-template" . | nindent 4 }}
  {{- if .Values.persistence.enabled }}
  {{- with .Values.persistence.whenScaled }}
  persistentVolumeClaimRetentionPolicy: {whenDeleted: Retain, whenScaled: {{ . }}}
  {{- end }}
  volumeClaimTemplates:
    - apiVersion: v1
      kind: PersistentVolumeClaim
      metadata:
        name: data
        labels:
          {{- include "layer-common.selector-labels" . | nindent 10 }}
        {{- with .Values.persistence.annotations }}
        annotations:
          {{- toYaml . | nindent 10 }}
        {{- end }}
      spec:
        accessModes: [ReadWriteOnce]
        {{- with .Values.persistence.storageClassName }}
        storageClassName: {{ . }}
        {{- end }}
        resources:
          requests:
            storage: {{ .Values.persistence.size }}
  {{- end }}
{{- end }}

{{/* Settings beyond those that the chart decides, as the file that LAYER_CONFIG_FILE names. */}}
{{- define "layer-common.configmap" -}}
{{- if .Values.config -}}
apiVersion: v1
kind: ConfigMap
metadata:
  {{- include "layer-common.metadata" . | nindent 2 }}
data:
  layer.yaml: |
    {{- include "layer-common.config-file" . | nindent 4 }}
{{- end }}
{{- end }}

{{- define "layer-common.config-file" -}}
{{- dict .Chart.Name .Values.config | toYaml -}}
{{- end }}

{{- define "layer-common.service-account" -}}
{{- if .Values.serviceAccount.create -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "layer-common.service-account-name" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "layer-common.labels" . | nindent 4 }}
  {{- with .Values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}
{{- end }}
