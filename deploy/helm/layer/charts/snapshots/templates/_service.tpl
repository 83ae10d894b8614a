{{- define "snapshots.ports" -}}
- {name: grpc, port: 7102}
{{- end }}

{{- define "snapshots.environment" }}
{{- with .Values.gateway.address | default (include "layer-common.peer" (list . "gateway")) }}
- name: LAYER_SNAPSHOTS_GATEWAY_ADDRESS
  value: {{ . | quote }}
{{- end }}
{{- with .Values.cache.address | default (include "layer-common.cache-addresses" .) }}
- name: LAYER_SNAPSHOTS_CACHE_ADDRESS
  value: {{ . | quote }}
{{- end }}
{{- with .Values.facetFields }}
- name: LAYER_FACET_FIELDS
  value: {{ . | toJson | quote }}
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
{{- else }}
- name: LAYER_SNAPSHOTS_OBJECTS_DIRECTORY
  value: /tmp/objects
{{- end }}
{{- end }}
{{- end }}

{{- define "snapshots.secrets" }}
{{- with .Values.gateway.apiKey }}
{{- if .existingSecret }}
- {variable: LAYER_SNAPSHOTS_GATEWAY_API_KEY, secret: {{ .existingSecret }}, key: {{ .key }}}
{{- end }}
{{- end }}
{{- end }}
