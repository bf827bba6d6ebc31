{{- define "telestream.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "telestream.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "telestream.labels" -}}
{{ include "telestream.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "telestream.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{- define "telestream.ociSecret" -}}
{{- default (printf "%s-oci" (include "telestream.fullname" .)) .Values.oci.existingSecret -}}
{{- end -}}

{{/* The "restricted" Pod Security Standard. */}}
{{- define "telestream.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "telestream.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* What controller and workers have in common. */}}
{{- define "telestream.envFrom" -}}
- configMapRef: {name: {{ include "telestream.fullname" . }}}
- secretRef: {name: {{ include "telestream.fullname" . }}}
{{- end -}}

{{- define "telestream.podEnv" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
{{- with .Values.redis }}
{{- if and .host .existingSecret }}
- name: REDIS_USERNAME
  valueFrom: {secretKeyRef: {name: {{ .existingSecret }}, key: username, optional: true}}
- name: REDIS_PASSWORD
  valueFrom: {secretKeyRef: {name: {{ .existingSecret }}, key: password}}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Changes when the configuration does, so that pods are replaced. */}}
{{- define "telestream.configChecksum" -}}
{{- $map := include (print .Template.BasePath "/config.yaml") . -}}
{{- list $map .Values.telegram.apiId .Values.oci .Values.objects .Values.redis | toJson | sha256sum -}}
{{- end -}}

{{/* Not empty if there is a bot. */}}
{{- define "telestream.botSecret" -}}
{{- with .Values.bot -}}
{{- if .existingSecret -}}{{- .existingSecret -}}
{{- else if .token -}}{{- printf "%s-bot" (include "telestream.fullname" $) -}}
{{- end -}}
{{- end -}}
{{- end -}}
