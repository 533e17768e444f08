{{- define "csps.name" -}}
{{- default (printf "%s-operator" (.Release.Name | trunc 40 | trimSuffix "-")) .Values.fullnameOverride -}}
{{- end -}}

{{- define "csps.selectorLabels" -}}
app.kubernetes.io/name: csps
app.kubernetes.io/component: operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "csps.labels" -}}
{{ include "csps.selectorLabels" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "csps.serviceAccountName" -}}
{{- default (ternary (include "csps.name" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name -}}
{{- end -}}

{{/* Reference of an image: (dict "root" $ "image" .Values.images.operator) */}}
{{- define "csps.image" -}}
{{- $tag := default .root.Chart.AppVersion .image.tag -}}
{{- with .root.Values.imageRegistry }}{{ trimSuffix "/" . }}/{{ end -}}
{{ .image.repository }}{{ ternary "@" ":" (hasPrefix "sha256:" $tag) }}{{ $tag }}
{{- end -}}
