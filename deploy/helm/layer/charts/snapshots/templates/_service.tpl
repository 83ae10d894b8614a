{{- define "snapshots.ports" -}}
- {name: grpc, port: 7102}
{{- end }}

{{- define "snapshots.environment" }}{{ end }}

{{- define "snapshots.secrets" }}{{ end }}
