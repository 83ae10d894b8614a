{{- define "gateway.ports" -}}
- {name: http, port: 8080}
- {name: grpc, port: 7100}
{{- end }}

{{- define "gateway.environment" -}}
{{- if ne (int .Values.workers) 1 }}
- name: LAYER_GATEWAY_WORKERS
  value: {{ .Values.workers | quote }}
{{- end }}
{{- if .Values.vectorStores }}
- name: LAYER_STORE_JSON
  value: {{ .Values.vectorStores | toJson | quote }}
{{- else }}
- name: LAYER_GATEWAY_UPSTREAM_URL
  value: {{ include "gateway.upstream-url" . | quote }}
{{- end }}
{{- with .Values.objectStore }}
{{- if .bucket }}
- name: S3_BUCKET
  value: {{ .bucket | quote }}
- name: S3_REGION
  value: {{ .region | quote }}
{{- with .endpoint }}
- name: S3_ENDPOINT
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.metricsBackendUrl }}
- name: METRICS_BACKEND_URL
  value: {{ . | quote }}
{{- end }}
{{- with .Values.cache.address | default (include "layer-common.cache-addresses" .) }}
- name: LAYER_GATEWAY_CACHE_ADDRESS
  value: {{ . | quote }}
{{- end }}
{{- with .Values.runtime.address | default (include "layer-common.peer" (list . "runtime")) }}
- name: LAYER_GATEWAY_RUNTIME_ADDRESS
  value: {{ . | quote }}
{{- end }}
{{- with .Values.snapshots.address | default (include "layer-common.peer" (list . "snapshots")) }}
- name: LAYER_GATEWAY_SNAPSHOTS_ADDRESS
  value: {{ . | quote }}
{{- end }}
{{- with .Values.history.address | default (include "layer-common.peer" (list . "history")) }}
- name: LAYER_GATEWAY_HISTORY_ADDRESS
  value: {{ . | quote }}
- name: LAYER_GATEWAY_HISTORY_SPOOL_DIRECTORY
  value: /tmp/history-spool
- name: LAYER_GATEWAY_HISTORY_SPOOL_BYTES_MAX
  value: {{ $.Values.history.spoolBytesMax | int64 | quote }}
{{- end }}
{{- end }}

{{- define "gateway.secrets" -}}
{{- $references := list }}
{{- range .Values.vectorStores }}
{{- $references = append $references (dig "credential" "secretRef" dict .) }}
{{- range dig "inboundAuth" "keys" list . }}
{{- $references = append $references .secretRef }}
{{- end }}
{{- end }}
{{- range $references | uniq }}
{{- if . }}
- {variable: {{ include "gateway.secret-variable" . }}, secret: {{ .name }}, key: {{ .key }}}
{{- end }}
{{- end }}
{{- if not .Values.vectorStores }}
{{- with .Values.upstream.apiKey }}
{{- if .existingSecret }}
- {variable: LAYER_GATEWAY_UPSTREAM_API_KEY, secret: {{ .existingSecret }}, key: {{ .key }}}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The variable that holds the secret of a reference, as the gateway spells it. */}}
{{- define "gateway.secret-variable" -}}
LAYER_SECRET_{{ regexReplaceAll "[^A-Z0-9]" (upper .name) "_" }}_{{ regexReplaceAll "[^A-Z0-9]" (upper .key) "_" }}
{{- end }}

{{/* What the gateway answers in front of, in a few words. */}}
{{- define "gateway.store" -}}
{{- if .Values.vectorStores }}{{ .Values.vectorStores | keys | sortAlpha | join ", " }}
{{- else }}{{ include "gateway.upstream-url" . }}
{{- end }}
{{- end }}

{{- define "gateway.upstream-url" -}}
{{- .Values.upstream.url | default (include "layer-common.peer" (list . "vectorstore")) | required (
  "the gateway has no vector store: set upstream.url (gateway.upstream.url in the chart `layer`) to its address, or vectorstore.enabled=true for the embedded one") -}}
{{- end }}
