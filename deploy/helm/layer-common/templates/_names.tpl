{{/*
The name of this chart's objects: `<release>-<service>`, or the service alone where the release is
called after it. Cut so that suffixes, and the hash of a StatefulSet's revision, fit in 63 letters.
*/}}
{{- define "layer-common.fullname" -}}
{{- include "layer-common.fullname-of" (list . .Chart.Name) -}}
{{- end }}

{{/* The same for another service of the release: (list $ "cache"). */}}
{{- define "layer-common.fullname-of" -}}
{{- $release := (index . 0).Release.Name -}}
{{- $service := index . 1 -}}
{{- if eq $release $service -}}
{{- $service -}}
{{- else -}}
{{- printf "%s-%s" ($release | trunc 40 | trimSuffix "-") $service -}}
{{- end -}}
{{- end }}

{{/*
The address of another service, (list $ "cache"), or nothing when the release does not have it.
The umbrella chart collects under `global.peers` what its enabled subcharts export.
*/}}
{{- define "layer-common.peer" -}}
{{- $root := index . 0 -}}
{{- $service := index . 1 -}}
{{- with dig "peers" $service dict ($root.Values.global | default dict) -}}
{{- printf "%s%s%s:%d" .scheme (include "layer-common.fullname-of" (list $root $service)) (.suffix | default "") (int .port) -}}
{{- end -}}
{{- end }}

{{/* The caches of the release: every pod of several by its own name, since each row is in one. */}}
{{- define "layer-common.cache-addresses" -}}
{{- $replicas := int .Values.cache.replicas -}}
{{- if eq $replicas 1 -}}
{{- include "layer-common.peer" (list . "cache") -}}
{{- else -}}
{{- with dig "peers" "cache" dict (.Values.global | default dict) -}}
{{- $service := include "layer-common.fullname-of" (list $ "cache") -}}
{{- $addresses := list -}}
{{- range $number := until $replicas -}}
{{- $addresses = append $addresses (printf "dns:///%s-%d.%s:7101" $service $number $service) -}}
{{- end -}}
{{- join "," $addresses -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "layer-common.selector-labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The labels of objects. They change with the version, so no selector uses more than the above. */}}
{{- define "layer-common.labels" -}}
{{ include "layer-common.selector-labels" . }}
{{ include "layer-common.shared-labels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name (.Chart.Version | replace "+" "_") }}
{{- end }}

{{/* The labels of a service's pods: without the chart's version, which alone should restart nothing. */}}
{{- define "layer-common.pod-labels" -}}
{{ include "layer-common.selector-labels" . }}
{{ include "layer-common.shared-labels" . }}
{{- with .Values.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "layer-common.shared-labels" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: layer
{{- end }}

{{/* The metadata of an object named like its chart. */}}
{{- define "layer-common.metadata" -}}
name: {{ include "layer-common.fullname" . }}
namespace: {{ .Release.Namespace }}
labels:
  {{- include "layer-common.labels" . | nindent 2 }}
{{- end }}

{{- define "layer-common.service-account-name" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (include "layer-common.fullname" .) -}}
{{- else -}}
{{- .Values.serviceAccount.name | default "default" -}}
{{- end -}}
{{- end }}

{{/* A digest wins over a tag; without either it is the version that the chart was made for. */}}
{{- define "layer-common.image" -}}
{{- $global := .Values.global | default dict -}}
{{- $registry := $global.imageRegistry | default .Values.image.registry -}}
{{- with $registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{- .Values.image.repository -}}
{{- if .Values.image.digest -}}
@{{ .Values.image.digest }}
{{- else -}}
:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end }}
