package webhook

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/podid/podid/internal/identity"
)

// pod is the little that a mutation needs to know of a pod. The pod itself is never encoded again, so fields that are not
// here, also those of Kubernetes versions to come, pass untouched.
type pod struct {
	Metadata *struct {
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec *struct {
		ServiceAccountName string            `json:"serviceAccountName"`
		ServiceAccount     string            `json:"serviceAccount"` // its deprecated alias
		NodeSelector       map[string]string `json:"nodeSelector"`
		OS                 struct {
			Name string `json:"name"`
		} `json:"os"`
		Volumes        []named      `json:"volumes"`
		InitContainers []*container `json:"initContainers"`
		Containers     []*container `json:"containers"`
	} `json:"spec"`
}

type container struct {
	Name         string  `json:"name"`
	Env          []named `json:"env"`
	VolumeMounts []named `json:"volumeMounts"`
}

type named struct {
	Name string `json:"name"`
}

func decodePod(data []byte) (*pod, error) {
	var p pod
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("reading pod: %w", err)
	}
	if p.Spec == nil {
		return nil, fmt.Errorf("reading pod: %w", errNoSpec)
	}
	return &p, nil
}

// serviceAccount tells whom the pod runs as. Kubernetes fills in "default" before it calls webhooks; an empty name means the
// same wherever it has not (yet).
func (p *pod) serviceAccount(namespace string) identity.ServiceAccount {
	return identity.ServiceAccount{
		Namespace: namespace,
		Name:      cmp.Or(p.Spec.ServiceAccountName, p.Spec.ServiceAccount, "default"),
	}
}

// windows tells whether the pod's containers see paths as Windows does.
func (p *pod) windows() bool {
	for _, label := range []string{"kubernetes.io/os", "beta.kubernetes.io/os"} {
		if p.Spec.NodeSelector[label] == "windows" {
			return true
		}
	}
	return p.Spec.OS.Name == "windows"
}

func (p *pod) annotation(name string) string {
	if p.Metadata == nil {
		return ""
	}
	return p.Metadata.Annotations[name]
}

// skipped reads the containers that want no credentials. The annotation is one line of CSV without any trimming, and one that
// is not CSV skips nothing: both as Amazon's webhook does.
func (p *pod) skipped(annotation string) (names []string, warning string) {
	value := p.annotation(annotation)
	if value == "" {
		return nil, ""
	}
	names, err := csv.NewReader(strings.NewReader(value)).Read()
	if err != nil {
		return nil, fmt.Sprintf("annotation %s is not a comma-separated list: no container is skipped", annotation)
	}
	return names, ""
}

// tokenExpiration reads how long the pod wants its tokens to live, in seconds.
func (p *pod) tokenExpiration(annotation string, otherwise int64) (seconds int64, warning string) {
	value := p.annotation(annotation)
	if value == "" {
		return otherwise, ""
	}
	seconds, err := strconv.ParseInt(value, 10, 64)
	if err != nil || seconds > maxTokenExpiration {
		return otherwise, fmt.Sprintf("annotation %s is not a number of seconds: it is ignored", annotation)
	}
	return max(seconds, minTokenExpiration), ""
}

func (c *container) defines(variables ...string) bool {
	for _, variable := range variables {
		if has(c.Env, variable) {
			return true
		}
	}
	return false
}

func has(list []named, name string) bool {
	for _, item := range list {
		if item.Name == name {
			return true
		}
	}
	return false
}
