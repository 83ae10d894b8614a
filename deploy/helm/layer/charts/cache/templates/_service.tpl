{{- define "cache.ports" -}}
- {name: grpc, port: 7101}
- {name: lookups, port: 7106}
{{- end }}

{{- define "cache.environment" -}}
- name: LAYER_CACHE_DISK_BYTES_MAX
  value: {{ .Values.diskBytesMax | int64 | quote }}
- name: LAYER_CACHE_BACKEND
  value: {{ .Values.backend | quote }}
{{- if eq .Values.backend "aerospike" }}
{{- if gt (int .Values.replicaCount) 1 }}
{{- fail "backend aerospike takes one replica: a second pod would stand by and never be ready" }}
{{- end }}
{{- with .Values.aerospike }}
- name: LAYER_CACHE_AEROSPIKE_HOSTS
  value: {{ required "backend aerospike needs aerospike.hosts, such as aerospike:3000" .hosts | quote }}
- name: LAYER_CACHE_AEROSPIKE_NAMESPACE
  value: {{ .namespace | quote }}
- name: LAYER_CACHE_AEROSPIKE_SET_PREFIX
  value: {{ .setPrefix | quote }}
- name: LAYER_CACHE_AEROSPIKE_CLUSTER_NAME
  value: {{ .clusterName | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- define "cache.secrets" }}{{ end }}
