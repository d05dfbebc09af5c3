package facts

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync/atomic"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/kube"
	"github.com/podid/podid/internal/webhook"
)

// MappingName is the ConfigMap that maps service accounts to roles, as installers such as kOps write it.
const MappingName = "pod-identity-webhook"

// Mapping is the mapping of the ConfigMap, kept current. It is safe for concurrent use.
type Mapping struct {
	client    *kube.Client
	namespace string
	log       *slog.Logger
	current   atomic.Pointer[webhook.Mapping]
	listed    bool // the ConfigMap was in the list that is under way
}

// FollowMapping makes it, of the ConfigMap in a namespace.
func FollowMapping(client *kube.Client, namespace string, logger *slog.Logger) *Mapping {
	return &Mapping{client: client, namespace: namespace, log: logger}
}

// Run keeps it current until ctx ends.
func (m *Mapping) Run(ctx context.Context) {
	m.client.Follow(ctx, kube.Resource{Path: "/api/v1/namespaces/" + m.namespace + "/configmaps", Name: MappingName}, kube.Sink{
		List:   func() { m.listed = false },
		Put:    func(_ *kube.Metadata, object []byte) { m.put(object) },
		Delete: func(*kube.Metadata) { m.current.Store(nil) },
		Synced: func() {
			if !m.listed {
				m.current.Store(nil)
			}
		},
		Lost: func(err error) {
			m.log.Warn("config map cannot be followed", "config_map", m.namespace+"/"+MappingName, "err", err)
		},
	})
}

// put takes the mapping over. One that cannot be read at all changes nothing.
func (m *Mapping) put(object []byte) {
	m.listed = true
	var configMap struct {
		Data struct {
			Config string `json:"config"`
		} `json:"data"`
	}
	err := json.Unmarshal(object, &configMap)
	var mapping *webhook.Mapping
	if err == nil {
		mapping, err = webhook.ParseMapping([]byte(configMap.Data.Config))
	}
	if err != nil {
		m.log.Error("config map is not as it should be", "config_map", m.namespace+"/"+MappingName, "err", err)
	}
	if mapping != nil {
		m.current.Store(mapping)
	}
}

// Find returns what there is for a service account; nil: nothing.
func (m *Mapping) Find(account identity.ServiceAccount) *webhook.MappedRole {
	return m.current.Load().Find(account)
}
