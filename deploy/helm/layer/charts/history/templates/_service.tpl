{{- define "history.ports" -}}
- {name: grpc, port: 7103}
{{- end }}

{{- define "history.environment" -}}
- name: LAYER_HISTORY_DISK_BYTES_MAX
  value: {{ .Values.diskBytesMax | int64 | quote }}
- name: LAYER_HISTORY_FLUSH_INTERVAL_S
  value: {{ .Values.flushIntervalSeconds | quote }}
{{- with .Values.cache.address | default (include "layer-common.cache-addresses" .) }}
- name: LAYER_HISTORY_CACHE_ADDRESS
  value: {{ . | quote }}
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
{{- end }}

{{- define "history.secrets" -}}
{{- with .Values.hashKey }}
{{- if .existingSecret }}
- {variable: LAYER_HISTORY_HASH_KEY, secret: {{ .existingSecret }}, key: {{ .key }}}
{{- end }}
{{- end }}
{{- end }}
