{{- define "runtime.ports" -}}
- {name: grpc, port: 7104}
{{- end }}

{{- define "runtime.environment" }}
{{- with .Values.gateway.address | default (include "layer-common.peer" (list . "gateway")) }}
- name: LAYER_RUNTIME_GATEWAY_ADDRESS
  value: {{ . | quote }}
{{- end }}
{{- with .Values.cache.address | default (include "layer-common.cache-addresses" .) }}
- name: LAYER_RUNTIME_CACHE_ADDRESS
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

{{- define "runtime.secrets" }}
{{- with .Values.database }}
{{- if .existingSecret }}
- {variable: LAYER_RUNTIME_DATABASE_URL, secret: {{ .existingSecret }}, key: {{ .key }}}
{{- end }}
{{- end }}
{{- with .Values.gateway.apiKey }}
{{- if .existingSecret }}
- {variable: LAYER_RUNTIME_GATEWAY_API_KEY, secret: {{ .existingSecret }}, key: {{ .key }}}
{{- end }}
{{- end }}
{{- end }}
