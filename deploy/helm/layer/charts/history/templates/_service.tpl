{{- define "history.ports" -}}
- {name: grpc, port: 7103}
{{- end }}

{{- define "history.environment" }}{{ end }}

{{- define "history.secrets" }}{{ end }}
