package token

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	maxBody      = 1 << 20 // bytes of a discovery document or a key set
	maxRedirects = 3
)

// fetcher gets the keys of one issuer by OpenID Connect discovery.
// See https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfig.
type fetcher struct {
	issuer    string
	allowHTTP bool
	client    *http.Client
}

func (v *Verifier) newFetcher(issuer Issuer) (*fetcher, error) {
	var roots *x509.CertPool
	if len(issuer.CA) > 0 {
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM(issuer.CA) {
			return nil, fmt.Errorf("no certificate in the CA of issuer %s", issuer.URL)
		}
	}
	f := &fetcher{issuer: issuer.URL, allowHTTP: v.cfg.AllowHTTP}
	f.client = &http.Client{Transport: v.cfg.Transport(roots), CheckRedirect: f.checkRedirect}
	return f, f.checkURL(issuer.URL)
}

// transport fetches over the network. Connections are not kept: the next fetch is minutes away.
func transport(roots *x509.CertPool) http.RoundTripper {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		MaxResponseHeaderBytes: 64 << 10,
		DisableKeepAlives:      true,
	}
}

// fetch returns the key set and how long the issuer says it may be kept.
func (f *fetcher) fetch(ctx context.Context) (source []byte, keep time.Duration, err error) {
	body, _, err := f.get(ctx, strings.TrimSuffix(f.issuer, "/")+"/.well-known/openid-configuration")
	if err != nil {
		return nil, 0, err
	}
	var document struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return nil, 0, fmt.Errorf("reading the discovery document of %s: %w", f.issuer, err)
	}
	if document.Issuer != f.issuer {
		return nil, 0, fmt.Errorf("the discovery document of %s is of issuer %.200q", f.issuer, document.Issuer)
	}
	if err := f.checkURL(document.JWKSURI); err != nil {
		return nil, 0, err
	}
	source, header, err := f.get(ctx, document.JWKSURI)
	return source, lifetime(header), err
}

func (f *fetcher) get(ctx context.Context, url string) ([]byte, http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, nil, err
	}
	// No Accept header: the answer to one that names JSON only is 406 where keys are application/jwk-set+json, as in Kubernetes.
	resp, err := f.client.Do(req)
	if err != nil {
		return nil, nil, err // it has the method and the URL
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, nil, fmt.Errorf("fetching %s: got status %s", url, resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("fetching %s: %w", url, err)
	case len(body) > maxBody:
		return nil, nil, fmt.Errorf("fetching %s: the answer is over the limit of %d bytes", url, maxBody)
	}
	return body, resp.Header, nil
}

// checkRedirect follows redirects within a host only. Else an issuer could have us call, with our network position, any other.
func (f *fetcher) checkRedirect(next *http.Request, before []*http.Request) error {
	switch {
	case len(before) > maxRedirects:
		return errors.New("too many redirects")
	case next.URL.Host != before[0].URL.Host || next.URL.Scheme != before[0].URL.Scheme:
		return errors.New("redirect to another host refused")
	}
	return nil
}

func (f *fetcher) checkURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.User != nil:
		return fmt.Errorf("%.200q is not a URL from which keys can be fetched", s)
	case u.Scheme == "https" || u.Scheme == "http" && f.allowHTTP:
		return nil
	}
	return fmt.Errorf("%.200q is not an https URL", s)
}

// lifetime reads the max-age of a Cache-Control header; 0 if there is none.
func lifetime(header http.Header) time.Duration {
	for directive := range strings.SplitSeq(header.Get("Cache-Control"), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		if !strings.EqualFold(name, "max-age") {
			continue
		}
		if seconds, err := strconv.Atoi(value); err == nil && seconds > 0 {
			return time.Duration(min(seconds, int(maxRefresh/time.Second))) * time.Second
		}
	}
	return 0
}
