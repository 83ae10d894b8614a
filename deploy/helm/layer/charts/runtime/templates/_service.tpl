{{- define "runtime.ports" -}}
- {name: grpc, port: 7104}
{{- end }}

{{- define "runtime.environment" }}{{ end }}

{{- define "runtime.secrets" }}{{ end }}
