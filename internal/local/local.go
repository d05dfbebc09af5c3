// Package local is a Kubernetes cluster without nodes: as much of the Kubernetes API as it takes to give a process on this
// machine the identity of a pod.
//
// It admits pods by dry run, webhook included, and gives them tokens that are signed and filled as a kubelet's projected ones.
// It keeps ServiceAccount objects, for their annotations, and nothing else, and runs nothing: every namespace and service account
// exists, no pod does. What runs a process as an admitted pod is package podrun; who may call is decided by [Config].Authorize.
package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/podid/podid/internal/identity"
	"github.com/podid/podid/internal/store"
	"github.com/podid/podid/internal/token"
	"github.com/podid/podid/internal/webhook"
)

// NodeName is the node that all pods of the cluster are on: the machine itself.
const NodeName = "localhost"

// Version is what the cluster says that it is. No cluster of another kind says so.
const Version = "v1.36.0+podid"

// Largest request bodies in bytes: Kubernetes' own limit for a pod, and plenty for a token request.
const (
	maxPodBytes          = 3 << 20
	maxTokenRequestBytes = 64 << 10
)

// What Authorize says no with. Any other error of it is a fault.
var (
	ErrUnauthorized = errors.New("not authenticated")
	ErrForbidden    = errors.New("not allowed")
)

// Config is what a Cluster is made of.
type Config struct {
	// Name of the cluster. The uids of its service accounts are derived from it.
	Name string
	// Signer of the tokens.
	Signer *token.Signer
	// Webhook that pods pass through.
	Webhook *webhook.Handler
	// ServiceAccounts of this and other clusters, and the store that they were defined in.
	ServiceAccounts *ServiceAccounts
	Store           *store.Store
	// Authorize decides, by its bearer token, whether a request that admits a pod or asks for a token may do so: it returns
	// nil, or an error that wraps ErrUnauthorized or ErrForbidden, or a fault.
	Authorize func(ctx context.Context, bearer identity.Secret) error
	// Random is the source of pod names and uids and of token ids; crypto/rand's Reader.
	Random io.Reader
	// Now is the clock that tokens are issued by.
	Now func() time.Time
	// Logger gets a line for each token and each fault.
	Logger *slog.Logger
}

// Cluster serves the API. Mount it with http.StripPrefix where it is not at the root.
type Cluster struct {
	cfg Config
	mux *http.ServeMux
}

// New checks the configuration.
func New(cfg Config) (*Cluster, error) {
	switch {
	case !identity.ValidClusterName(cfg.Name):
		return nil, errors.New("local: the cluster's name is not valid")
	case cfg.Signer == nil:
		return nil, errors.New("local: no signer")
	case cfg.Webhook == nil:
		return nil, errors.New("local: no webhook")
	case cfg.ServiceAccounts == nil || cfg.Store == nil:
		return nil, errors.New("local: no store of service accounts")
	case cfg.Authorize == nil:
		return nil, errors.New("local: no Authorize function")
	case cfg.Random == nil:
		return nil, errors.New("local: no source of random bytes")
	case cfg.Now == nil:
		return nil, errors.New("local: no clock")
	case cfg.Logger == nil:
		return nil, errors.New("local: no logger")
	}
	c := &Cluster{cfg: cfg, mux: http.NewServeMux()}
	const namespace, accounts = "/api/v1/namespaces/{namespace}", "/serviceaccounts"
	c.handle(namespace+"/pods", methods{http.MethodPost: c.authorized(c.createPod)})
	c.handle("/api/v1"+accounts, methods{http.MethodGet: c.authorized(c.listAccounts)})
	c.handle(namespace+accounts, methods{http.MethodGet: c.authorized(c.listAccounts), http.MethodPost: c.authorized(c.createAccount)})
	c.handle(namespace+accounts+"/{name}", methods{
		http.MethodGet: c.authorized(c.getAccount), http.MethodPatch: c.authorized(c.patchAccount), http.MethodDelete: c.authorized(c.deleteAccount),
	})
	c.handle(namespace+accounts+"/{name}/token", methods{http.MethodPost: c.authorized(c.createToken)})
	c.handle("/openid/v1/jwks", methods{http.MethodGet: func(*http.Request) (*answer, error) {
		return &answer{http.StatusOK, "application/jwk-set+json", nil, cfg.Signer.JWKS()}, nil
	}})
	c.handle("/.well-known/openid-configuration", methods{http.MethodGet: func(*http.Request) (*answer, error) {
		return &answer{http.StatusOK, "application/json", nil, token.DiscoveryDocument(cfg.Signer.Issuer())}, nil
	}})
	c.handle("/version", methods{http.MethodGet: func(*http.Request) (*answer, error) {
		return jsonAnswer(http.StatusOK, map[string]string{"major": "1", "minor": "36", "gitVersion": Version})
	}})
	c.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { errNotFound.write(w) })
	return c, nil
}

// ServeHTTP answers a request of the Kubernetes API. Errors are answered with a Status, as Kubernetes does.
func (c *Cluster) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.mux.ServeHTTP(w, r) }

// answer is a successful response.
type answer struct {
	code        int
	contentType string
	warnings    []string
	body        []byte
}

func jsonAnswer(code int, v any) (*answer, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	return &answer{code, "application/json", nil, body}, nil
}

func (a *answer) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", a.contentType)
	for _, warning := range a.warnings {
		// As in RFC 7234, section 5.5; 299 is "miscellaneous persistent warning". JSON quotes what HTTP would not carry.
		quoted, err := json.Marshal(warning)
		if err == nil {
			w.Header().Add("Warning", "299 - "+string(quoted))
		}
	}
	w.WriteHeader(a.code)
	_, _ = w.Write(a.body) // a client that has gone cannot be told
}

type operation func(r *http.Request) (*answer, error)

// methods are the operations of one path.
type methods map[string]operation

// handle serves the operations of a path, and refuses other methods.
func (c *Cluster) handle(pattern string, ops methods) {
	allowed := strings.Join(slices.Sorted(maps.Keys(ops)), ", ")
	c.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		op, ok := ops[r.Method]
		if !ok {
			w.Header().Set("Allow", allowed)
			errMethod.write(w)
			return
		}
		a, err := op(r)
		if err == nil {
			a.write(w)
			return
		}
		var status *statusError
		if !errors.As(err, &status) {
			c.cfg.Logger.ErrorContext(r.Context(), "request failed", "path", r.URL.Path, "err", err)
			status = errInternal
		}
		status.write(w)
	})
}

// authorized serves an operation to those who may.
func (c *Cluster) authorized(op operation) operation {
	return func(r *http.Request) (*answer, error) {
		bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok || bearer == "" {
			return nil, errUnauthorized
		}
		err := c.cfg.Authorize(r.Context(), identity.Secret(bearer))
		switch {
		case errors.Is(err, ErrUnauthorized):
			return nil, errUnauthorized
		case errors.Is(err, ErrForbidden):
			return nil, errForbidden
		case err != nil:
			return nil, err
		}
		return op(r)
	}
}

// readJSON decodes the body of a request, which must be one JSON value of at most limit bytes. Numbers stay as they are written.
func readJSON(r *http.Request, limit int64, v any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return errMediaType
	}
	body, err := readBody(r, limit)
	if err != nil {
		return err
	}
	return decodeJSON(body, v)
}

func readBody(r *http.Request, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	switch {
	case err != nil:
		return nil, badRequest("the body cannot be read")
	case int64(len(body)) > limit:
		return nil, errTooLarge
	}
	return body, nil
}

// decodeJSON decodes exactly one JSON value.
func decodeJSON(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return badRequest("the body is not the object that was expected: " + err.Error())
	}
	if _, err := d.Token(); err != io.EOF {
		return badRequest("there is more in the body than one JSON value")
	}
	return nil
}
