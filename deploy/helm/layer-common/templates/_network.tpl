{{/* One port of a Service, from {name, port}: pods listen on the port of the Service. */}}
{{- define "layer-common.service-port" -}}
name: {{ .name }}
port: {{ .port }}
targetPort: {{ .name }}
appProtocol: {{ has .name (list "grpc" "lookups") | ternary "grpc" "http" }}
{{- end }}

{{/*
A Service without an address of its own: clients resolve it to all pods and balance by themselves,
since a gRPC connection would stay with the one pod that a virtual address chose.
*/}}
{{- define "layer-common.headless-service" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "layer-common.headless-name" . }}
  namespace: {{ .Release.Namespace }}
  labels:
    {{- include "layer-common.labels" . | nindent 4 }}
spec:
  clusterIP: None
  selector:
    {{- include "layer-common.selector-labels" . | nindent 4 }}
  ports:
    {{- range include "layer-common.ports" . | fromYamlArray }}
    - {{ include "layer-common.service-port" . | indent 6 | trim }}
    {{- end }}
{{- end }}

{{/* The plain name is the headless Service's, unless the chart has one with an address (`service`). */}}
{{- define "layer-common.headless-name" -}}
{{- include "layer-common.fullname" . -}}
{{- if .Values.service }}-grpc{{ end -}}
{{- end }}

{{- define "layer-common.network-policy" -}}
{{- if .Values.networkPolicy.enabled -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "layer-common.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "layer-common.selector-labels" . | nindent 6 }}
  policyTypes: [Ingress]
  ingress:
    - ports:
        {{- range include (printf "%s.ports" .Chart.Name) . | fromYamlArray }}
        - {port: {{ .name }}, protocol: TCP}
        {{- end }}
      {{- with .Values.networkPolicy.from }}
      from:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    - ports:
        - {port: ops, protocol: TCP}
      {{- with .Values.networkPolicy.opsFrom }}
      from:
        {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end }}
{{- end }}
