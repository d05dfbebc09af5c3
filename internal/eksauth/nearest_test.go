package eksauth_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/server/servertest"
)

// What a pod without an association is told: the name that somebody may have meant, of its own namespace only.
func TestNearestAssociation(t *testing.T) {
	s := servertest.New(t, nil)
	role := s.MakeRole("carts", servertest.PodTrust, "")
	for _, sa := range []identity.ServiceAccount{
		{Namespace: "carts", Name: "cart"}, {Namespace: "carts", Name: "checkout"}, {Namespace: "carts", Name: "ui"},
		{Namespace: "carts", Name: "payment-service"}, {Namespace: "other", Name: "orders"}, {Namespace: "carts2", Name: "secret-project"},
	} {
		s.Associate(servertest.Cluster, sa, role, nil)
	}
	for name, want := range map[string]string{
		"carts":          "The nearest is that of carts/cart.",
		"chekcout":       "The nearest is that of carts/checkout.",
		"payment":        "The nearest is that of carts/payment-service.",
		"payments":       "",
		"db":             "", // as short as ui, and nothing like it
		"secret-project": "",
		"orders":         "",
	} {
		t.Run(name, func(t *testing.T) {
			status, got := s.ExchangeRefused(servertest.Cluster, s.Token(servertest.Cluster, identity.ServiceAccount{Namespace: "carts", Name: name}, pod))
			if status != http.StatusNotFound || got.Code != "ResourceNotFoundException" ||
				!strings.Contains(got.Message, "No association found for namespace carts and service account "+name+" in cluster local.") ||
				!strings.Contains(got.Message, "aws eks create-pod-identity-association --cluster-name local --namespace carts --service-account "+name+" ") {
				t.Errorf("got %d %+v", status, got)
			}
			if !strings.Contains(got.Message, want) || want == "" && strings.Contains(got.Message, "nearest") {
				t.Errorf("the message is %q, want %q in it", got.Message, want)
			}
			if strings.Contains(got.Message, "carts2") || strings.Contains(got.Message, "other") {
				t.Errorf("the message names another namespace: %q", got.Message)
			}
		})
	}
	_, got := s.ExchangeRefused(servertest.Cluster, s.Token(servertest.Cluster, identity.ServiceAccount{Namespace: "empty", Name: "orders"}, pod))
	if !strings.Contains(got.Message, "The namespace has no associations in this cluster.") {
		t.Errorf("the message is %q", got.Message)
	}
}
