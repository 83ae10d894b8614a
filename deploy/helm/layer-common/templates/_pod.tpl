{{/* The port of probes and metrics in every pod. */}}
{{- define "layer-common.ops-port" -}}9090{{- end }}

{{- define "layer-common.data-directory" -}}/var/lib/layer{{- end }}

{{/*
What every pod has, whatever it runs. Service links are off because Kubernetes would describe a
Service `layer-gateway` in variables such as LAYER_GATEWAY_PORT, which a service of layer refuses
at its start as settings that it does not know.
*/}}
{{- define "layer-common.pod-settings" -}}
serviceAccountName: {{ include "layer-common.service-account-name" . }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with concat (dig "imagePullSecrets" list (.Values.global | default dict)) .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* What every container has, whatever it runs. */}}
{{- define "layer-common.container-settings" -}}
image: {{ include "layer-common.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- end }}

{{/*
The pod template of a service. The grace period is longer than the drain, so that the kubelet does
not kill a process that is closing its files.
*/}}
{{- define "layer-common.pod-template" -}}
metadata:
  labels:
    {{- include "layer-common.pod-labels" . | nindent 4 }}
  {{- if or .Values.config .Values.podAnnotations }}
  annotations:
    {{- if .Values.config }}
    checksum/config: {{ include "layer-common.config-file" . | sha256sum }}
    {{- end }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
spec:
  {{- include "layer-common.pod-settings" . | nindent 2 }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    - {{ toYaml . | indent 6 | trim }}
      {{- if not .labelSelector }}
      labelSelector:
        matchLabels:
          {{- include "layer-common.selector-labels" $ | nindent 10 }}
      {{- end }}
    {{- end }}
  {{- end }}
  terminationGracePeriodSeconds: {{ add (ceil .Values.shutdownGraceSeconds) 15 }}
  containers:
    - name: {{ .Chart.Name }}
      {{- include "layer-common.container-settings" . | nindent 6 }}
      env:
        {{- include "layer-common.environment" . | trim | nindent 8 }}
      {{- with .Values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        {{- range include "layer-common.ports" . | fromYamlArray }}
        - name: {{ .name }}
          containerPort: {{ .port }}
        {{- end }}
      startupProbe:
        httpGet: {path: /livez, port: ops}
        {{- toYaml .Values.probes.startup | nindent 8 }}
      livenessProbe:
        httpGet: {path: /livez, port: ops}
        {{- toYaml .Values.probes.liveness | nindent 8 }}
      readinessProbe:
        httpGet: {path: /readyz, port: ops}
        {{- toYaml .Values.probes.readiness | nindent 8 }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      volumeMounts:
        {{- include "layer-common.volume-mounts" . | trim | nindent 8 }}
  volumes:
    {{- include "layer-common.volumes" . | trim | nindent 4 }}
{{- end }}

{{/* The service's own ports and that of operations, as a YAML list of {name, port}. */}}
{{- define "layer-common.ports" -}}
{{ include (printf "%s.ports" .Chart.Name) . }}
- {name: ops, port: {{ include "layer-common.ops-port" . }}}
{{- end }}

{{/*
The settings that the chart decides. An address `:port` listens on all interfaces, IPv4 and IPv6.
`extraEnv` comes last: of two entries with one name Kubernetes takes the later.
*/}}
{{- define "layer-common.environment" -}}
{{- $prefix := printf "LAYER_%s" (upper .Chart.Name) -}}
{{- range include "layer-common.ports" . | fromYamlArray }}
- name: {{ $prefix }}_{{ upper .name }}_ADDRESS
  value: ":{{ .port }}"
{{- end }}
- name: {{ $prefix }}_SHUTDOWN_GRACE_S
  value: {{ .Values.shutdownGraceSeconds | quote }}
- name: {{ $prefix }}_LOG_LEVEL
  value: {{ .Values.logLevel }}
- name: {{ $prefix }}_LOG_FORMAT
  value: json
{{- if .Values.config }}
- name: LAYER_CONFIG_FILE
  value: /etc/layer/config/layer.yaml
{{- end }}
{{- if .Values.persistence }}
- name: {{ $prefix }}_DATA_DIRECTORY
  value: {{ include "layer-common.data-directory" . }}
{{- end }}
{{ include (printf "%s.environment" .Chart.Name) . }}
{{- range include (printf "%s.secrets" .Chart.Name) . | fromYamlArray }}
- name: {{ .variable }}_FILE
  value: /etc/layer/secrets/{{ .variable }}/{{ .key }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The root file system is read-only, so whatever is written to is a volume. */}}
{{- define "layer-common.volume-mounts" -}}
- {name: tmp, mountPath: /tmp}
{{- if .Values.persistence }}
- {name: data, mountPath: {{ include "layer-common.data-directory" . }}}
{{- end }}
{{- if .Values.config }}
- {name: config, mountPath: /etc/layer/config, readOnly: true}
{{- end }}
{{- range include (printf "%s.secrets" .Chart.Name) . | fromYamlArray }}
- {name: {{ include "layer-common.secret-volume" . }}, mountPath: /etc/layer/secrets/{{ .variable }}, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "layer-common.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- if and .Values.persistence (not (dig "enabled" true (.Values.persistence | default dict))) }}
- name: data
  emptyDir: {sizeLimit: {{ .Values.persistence.size }}}
{{- end }}
{{- if .Values.config }}
- name: config
  configMap:
    name: {{ include "layer-common.fullname" . }}
{{- end }}
{{- range include (printf "%s.secrets" .Chart.Name) . | fromYamlArray }}
- name: {{ include "layer-common.secret-volume" . }}
  secret:
    secretName: {{ .secret }}
    defaultMode: 0440
    items:
      - {key: {{ .key }}, path: {{ .key }}}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Names of volumes have no underscores, and 63 characters at most. */}}
{{- define "layer-common.secret-volume" -}}
{{- .variable | lower | replace "_" "-" | trunc -63 | trimPrefix "-" -}}
{{- end }}
