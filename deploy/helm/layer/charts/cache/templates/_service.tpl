{{- define "cache.ports" -}}
- {name: grpc, port: 7101}
{{- end }}

{{- define "cache.environment" -}}
- name: LAYER_CACHE_DISK_BYTES_MAX
  value: {{ .Values.diskBytesMax | int64 | quote }}
{{- end }}

{{- define "cache.secrets" }}{{ end }}
