package webhook

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// review is an AdmissionReview of admission.k8s.io, versions v1 and v1beta1, which differ in nothing that is used here.
// See https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#request.
type review struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Request    *request  `json:"request,omitempty"`
	Response   *response `json:"response,omitempty"`
}

type request struct {
	UID  string `json:"uid"`
	Kind struct {
		Kind string `json:"kind"`
	} `json:"kind"`
	SubResource string `json:"subResource"`
	Namespace   string `json:"namespace"`
	Operation   string `json:"operation"`
	Object      *pod   `json:"object"` // as far as it is one
}

// decodeReview reads a review and the pod in it at once, since that is most of the work. What is wrong with the pod alone is podErr,
// and the rest is there.
func decodeReview(body []byte) (r *review, podErr, err error) {
	r = &review{}
	pruned := buffers.Get().(*bytes.Buffer)
	defer buffers.Put(pruned)
	pruned.Reset()
	if needed, ok := prune(pruned.AvailableBuffer(), body, reviewShape); ok {
		_, _ = pruned.Write(needed) // so that a larger buffer is kept
		body = needed
	}
	err = json.Unmarshal(body, r)
	var mistyped *json.UnmarshalTypeError
	if errors.As(err, &mistyped) && (mistyped.Field == "request.object" || strings.HasPrefix(mistyped.Field, "request.object.")) {
		podErr, err = fmt.Errorf("reading pod: %w", err), nil
	}
	return r, podErr, err
}

type response struct {
	UID       string   `json:"uid"`
	Allowed   bool     `json:"allowed"`
	Status    *status  `json:"status,omitempty"`
	Patch     []byte   `json:"patch,omitempty"` // JSON, and base64 on the wire
	PatchType string   `json:"patchType,omitempty"`
	Warnings  []string `json:"warnings,omitempty"`
}

type status struct {
	Message string `json:"message"`
}

// createsPod tells whether the request is one that pods are mutated in. Everything else is let through: a webhook configured
// for more than it should be must not break updates, or put variables into ephemeral containers. Absent fields are taken as
// fitting.
func (r *request) createsPod() bool {
	return cmp.Or(r.Operation, "CREATE") == "CREATE" && cmp.Or(r.Kind.Kind, "Pod") == "Pod" && r.SubResource == ""
}

// answer puts a response into a review of the version that asked.
func (r *review) answer(resp response) *review {
	if r.Request != nil {
		resp.UID = r.Request.UID
	}
	return &review{
		APIVersion: cmp.Or(r.APIVersion, "admission.k8s.io/v1"),
		Kind:       cmp.Or(r.Kind, "AdmissionReview"),
		Response:   &resp,
	}
}

// refusal answers what is not a review of anything. Only there, never about a pod, is the answer no.
func refusal(message string) response {
	return response{Status: &status{message}}
}

// approval lets a pod through, changed by m.
func approval(m Mutation) (response, error) {
	resp := response{Allowed: true, Warnings: m.Warnings}
	if len(m.Patch) == 0 {
		return resp, nil
	}
	patch, err := json.Marshal(m.Patch)
	if err != nil {
		return response{}, fmt.Errorf("encoding patch: %w", err)
	}
	resp.Patch, resp.PatchType = patch, "JSONPatch"
	return resp, nil
}
