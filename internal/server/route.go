package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/sigv4"
	"github.com/podid/podid/internal/token"
)

// ServeHTTP finds out whom a request is for: the service that its signature is scoped to; for unsigned ones by the path. The
// Host header plays no part, so that any name the server is reached by will do.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	service := sigv4.ScopeService(r)
	if service == "" {
		s.serveUnsigned(w, r)
		return
	}
	if handler, ok := s.services[service]; ok {
		handler.ServeHTTP(w, r)
		return
	}
	writeError(w, http.StatusNotFound, "UnknownOperationException",
		fmt.Sprintf("The request is signed for the service %q, which is not served here. Served are eks, eks-auth, sts, iam and, where enabled, s3.", service))
}

// serveUnsigned serves what needs no signature, and sends the rest to the service that would have served it, for its refusal.
func (s *Server) serveUnsigned(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	switch first {
	case "livez":
		writeText(w, http.StatusOK, "ok\n")
	case "readyz":
		s.serveReady(w)
	case "id":
		s.serveIssuer(w, r, rest)
	case "k8s":
		name, _, _ := strings.Cut(rest, "/")
		if cluster, ok := s.clusters[name]; ok {
			http.StripPrefix("/k8s/"+name, cluster).ServeHTTP(w, r)
			return
		}
		writeError(w, http.StatusNotFound, "ResourceNotFoundException", fmt.Sprintf("There is no built-in cluster %q.", name))
	case "clusters", "cluster-registrations", "tags", "podid":
		if strings.HasSuffix(path, "/assume-role-for-pod-identity") {
			s.services["eks-auth"].ServeHTTP(w, r)
			return
		}
		s.services["eks"].ServeHTTP(w, r)
	default:
		if path == "/" && (r.Method == http.MethodPost || r.URL.Query().Has("Action")) || s.s3 == nil {
			s.services["sts"].ServeHTTP(w, r)
			return
		}
		s.s3.ServeHTTP(w, r)
	}
}

func (s *Server) serveReady(w http.ResponseWriter) {
	if err := s.store.Fresh(); err != nil {
		writeText(w, http.StatusServiceUnavailable, "not ready: store: "+err.Error()+"\n")
		return
	}
	writeText(w, http.StatusOK, "ok\n")
}

// serveIssuer serves what OpenID Connect discovery asks for: /id/<ID>/.well-known/openid-configuration and /id/<ID>/keys.json of every
// cluster whose issuer is here.
func (s *Server) serveIssuer(w http.ResponseWriter, r *http.Request, path string) {
	id, document, _ := strings.Cut(path, "/")
	var found *identity.Cluster
	for _, cluster := range s.directory.ScanClusters("") {
		if cluster.Issuer == s.url+"/id/"+id {
			found = cluster
		}
	}
	switch {
	case r.Method != http.MethodGet:
		writeError(w, http.StatusMethodNotAllowed, "InvalidRequestException", "Issuers' documents are only read.")
	case found != nil && document == ".well-known/openid-configuration":
		writeDocument(w, token.DiscoveryDocument(found.Issuer))
	case found != nil && document == "keys.json":
		writeDocument(w, found.Keys)
	default:
		writeError(w, http.StatusNotFound, "ResourceNotFoundException", "No issuer has a document at this address.")
	}
}

func writeDocument(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "max-age=300")
	_, _ = w.Write(body)
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}

// writeError answers a request that is for no service, in the spelling that most of them use.
func writeError(w http.ResponseWriter, status int, code, message string) {
	body, _ := json.Marshal(map[string]string{"__type": code, "message": message}) // strings always encode
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-Errortype", code)
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
