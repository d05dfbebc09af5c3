package podrun

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// pod is what running one here has to know of it.
type pod struct {
	Metadata struct {
		Name        string            `json:"name"`
		Namespace   string            `json:"namespace"`
		UID         string            `json:"uid"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		ServiceAccountName string      `json:"serviceAccountName"`
		NodeName           string      `json:"nodeName"`
		InitContainers     []container `json:"initContainers"`
		Containers         []container `json:"containers"`
		Volumes            []volume    `json:"volumes"`
	} `json:"spec"`
}

type container struct {
	Name         string    `json:"name"`
	Command      []string  `json:"command"`
	Args         []string  `json:"args"`
	EnvFrom      []envFrom `json:"envFrom"`
	Env          []envVar  `json:"env"`
	VolumeMounts []mount   `json:"volumeMounts"`
}

type envVar struct {
	Name      string     `json:"name"`
	Value     string     `json:"value"`
	ValueFrom *valueFrom `json:"valueFrom"`
}

type valueFrom struct {
	FieldRef *struct {
		FieldPath string `json:"fieldPath"`
	} `json:"fieldRef"`
	SecretKeyRef    *keyRef `json:"secretKeyRef"`
	ConfigMapKeyRef *keyRef `json:"configMapKeyRef"`
}

type keyRef struct {
	Name     string `json:"name"`
	Key      string `json:"key"`
	Optional bool   `json:"optional"`
}

type envFrom struct {
	SecretRef    *keyRef `json:"secretRef"` // without a key
	ConfigMapRef *keyRef `json:"configMapRef"`
}

type mount struct {
	Name        string `json:"name"`
	MountPath   string `json:"mountPath"`
	SubPath     string `json:"subPath"`
	SubPathExpr string `json:"subPathExpr"`
}

type volume struct {
	Name      string `json:"name"`
	Projected *struct {
		Sources []struct {
			ServiceAccountToken *tokenSource `json:"serviceAccountToken"`
		} `json:"sources"`
	} `json:"projected"`
}

type tokenSource struct {
	Audience          string `json:"audience"`
	ExpirationSeconds int64  `json:"expirationSeconds"`
	Path              string `json:"path"`
}

func readPod(data []byte) (*pod, error) {
	var p pod
	if err := json.Unmarshal(data, &p); err != nil {
		return nil, fmt.Errorf("reading admitted pod: %w", err)
	}
	if p.Metadata.Name == "" || p.Metadata.Namespace == "" || p.Metadata.UID == "" || p.Spec.ServiceAccountName == "" {
		return nil, errors.New("reading admitted pod: it lacks name, namespace, uid or service account")
	}
	return &p, nil
}

// sessionName names the pod's sessions by web identity, where the pod does not. Pods do without; here it is another guard: the AWS CLI
// keeps such sessions below HOME, by role and session name, and would serve this pod with the session of the one before, whoever that
// was. A session name has at most 64 characters, of which the UID takes 36.
func (p *pod) sessionName() string {
	return p.Metadata.Name[:min(len(p.Metadata.Name), 27)] + "-" + p.Metadata.UID
}

// container finds a container by name. Without a name it is the one that kubectl exec would take.
// See https://kubernetes.io/docs/reference/labels-annotations-taints/#kubectl-kubernetes-io-default-container.
func (p *pod) container(name string) (*container, error) {
	if name == "" {
		name = p.Metadata.Annotations["kubectl.kubernetes.io/default-container"]
	}
	if name == "" && len(p.Spec.Containers) > 0 {
		return &p.Spec.Containers[0], nil
	}
	var names []string
	for _, list := range [][]container{p.Spec.Containers, p.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i], nil
			}
			names = append(names, list[i].Name)
		}
	}
	return nil, fmt.Errorf("pod %s has no container %q: it has %s", p.Metadata.Name, name, strings.Join(names, ", "))
}

// field is the value of a downward API field. The process has no node and no address of its own: the machine it runs on
// stands for both.
// See https://kubernetes.io/docs/concepts/workloads/pods/downward-api/#available-fields.
func (p *pod) field(path string) (value string, ok bool) {
	switch path {
	case "metadata.name":
		return p.Metadata.Name, true
	case "metadata.namespace":
		return p.Metadata.Namespace, true
	case "metadata.uid":
		return p.Metadata.UID, true
	case "spec.serviceAccountName":
		return p.Spec.ServiceAccountName, true
	case "spec.nodeName":
		return p.Spec.NodeName, true
	case "status.podIP", "status.podIPs", "status.hostIP", "status.hostIPs":
		return "127.0.0.1", true
	}
	if key, ok := subscript(path, "metadata.labels"); ok {
		return p.Metadata.Labels[key], true
	}
	if key, ok := subscript(path, "metadata.annotations"); ok {
		return p.Metadata.Annotations[key], true
	}
	return "", false
}

// subscript takes the key out of metadata.labels['key'].
func subscript(path, of string) (key string, ok bool) {
	rest, ok := strings.CutPrefix(path, of+"['")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, "']")
}
