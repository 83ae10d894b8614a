{{- define "vectorstore.ports" -}}
- {name: http, port: 7105}
{{- end }}

{{- define "vectorstore.environment" }}{{ end }}

{{- define "vectorstore.secrets" }}{{ end }}
