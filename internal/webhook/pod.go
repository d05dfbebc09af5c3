package webhook

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
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
		SchedulerName string `json:"schedulerName"`
		HostNetwork   bool   `json:"hostNetwork"`
		Tolerations   []struct {
			Key string `json:"key"`
		} `json:"tolerations"`
		Volumes        []named      `json:"volumes"`
		InitContainers []*container `json:"initContainers"`
		Containers     []*container `json:"containers"`
	} `json:"spec"`
}

type container struct {
	Name         string     `json:"name"`
	Env          []envVar   `json:"env"`
	EnvFrom      []struct{} `json:"envFrom"` // nothing but how many
	VolumeMounts []mount    `json:"volumeMounts"`
}

type envVar struct {
	Name      string    `json:"name"`
	Value     *string   `json:"value"`
	ValueFrom *struct{} `json:"valueFrom"`
}

type mount struct {
	Name      string `json:"name"`
	MountPath string `json:"mountPath"`
}

type named struct {
	Name string `json:"name"`
}

func decodePod(data []byte) (*pod, error) {
	var p pod
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("reading pod: %w", err)
	}
	return &p, p.check()
}

// check finds what cannot be mutated.
func (p *pod) check() error {
	if p == nil || p.Spec == nil {
		return fmt.Errorf("reading pod: %w", errNoSpec)
	}
	return nil
}

// serviceAccount tells whom the pod runs as. Kubernetes fills in "default" before it calls webhooks; an empty name means the
// same wherever it has not (yet).
func (p *pod) serviceAccount(namespace string) identity.ServiceAccount {
	return identity.ServiceAccount{
		Namespace: namespace,
		Name:      cmp.Or(p.Spec.ServiceAccountName, p.Spec.ServiceAccount, "default"),
	}
}

func (p *pod) label(name string) (value string, ok bool) {
	if p.Metadata == nil {
		return "", false
	}
	value, ok = p.Metadata.Labels[name]
	return value, ok
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

func (c *container) defines(variables ...string) bool {
	return slices.ContainsFunc(variables, func(variable string) bool { return c.last(variable) >= 0 })
}

// last finds the variable's last definition, which is the one that counts; -1: there is none.
func (c *container) last(variable string) int {
	for i := len(c.Env) - 1; i >= 0; i-- {
		if c.Env[i].Name == variable {
			return i
		}
	}
	return -1
}

func has(list []named, name string) bool {
	return slices.ContainsFunc(list, func(item named) bool { return item.Name == name })
}
