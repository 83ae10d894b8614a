{{- define "gateway.ports" -}}
- {name: http, port: 8080}
- {name: grpc, port: 7100}
{{- end }}

{{- define "gateway.environment" -}}
- name: LAYER_GATEWAY_UPSTREAM_URL
  value: {{ include "gateway.upstream-url" . | quote }}
{{- with .Values.cache.address | default (include "layer-common.peer" (list . "cache")) }}
- name: LAYER_GATEWAY_CACHE_ADDRESS
  value: {{ . | quote }}
{{- end }}
{{- with .Values.history.address | default (include "layer-common.peer" (list . "history")) }}
- name: LAYER_GATEWAY_HISTORY_ADDRESS
  value: {{ . | quote }}
{{- end }}
{{- end }}

{{- define "gateway.secrets" -}}
{{- with .Values.upstream.apiKey }}
{{- if .existingSecret }}
- {variable: LAYER_GATEWAY_UPSTREAM_API_KEY, secret: {{ .existingSecret }}, key: {{ .key }}}
{{- end }}
{{- end }}
{{- end }}

{{- define "gateway.upstream-url" -}}
{{- .Values.upstream.url | default (include "layer-common.peer" (list . "vectorstore")) | required (
  "the gateway has no vector store: set upstream.url (gateway.upstream.url in the chart `layer`) to its address, or vectorstore.enabled=true for the embedded one") -}}
{{- end }}
