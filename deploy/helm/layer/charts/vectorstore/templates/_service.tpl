{{- define "vectorstore.ports" -}}
- {name: http, port: 7105}
{{- end }}

{{- define "vectorstore.environment" }}{{ end }}

{{- define "vectorstore.secrets" -}}
{{- with .Values.apiKeys }}
{{- if .existingSecret }}
- {variable: LAYER_VECTORSTORE_API_KEYS, secret: {{ .existingSecret }}, key: {{ .key }}}
{{- end }}
{{- end }}
{{- end }}
