package agent

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

const dialTimeout = 500 * time.Millisecond // as in Amazon's agent

// configure makes one pool of connections, for as many requests as there are at once.
func configure(t *http.Transport) {
	t.DialContext = (&net.Dialer{Timeout: dialTimeout}).DialContext
	t.TLSHandshakeTimeout = attemptTimeout
	t.ForceAttemptHTTP2 = true
	t.MaxIdleConns, t.MaxIdleConnsPerHost = maxExchanges, maxExchanges
	t.IdleConnTimeout = 90 * time.Second
	t.MaxResponseHeaderBytes = maxHeaderBytes
	if t.Proxy != nil {
		t.Proxy = PastLinkLocal(t.Proxy)
	}
}

// PastLinkLocal is a choice of proxies that has none for addresses of the node itself, which no proxy can reach: those of IMDS and of
// credentials endpoints, whatever NO_PROXY says.
func PastLinkLocal(proxy func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	return func(r *http.Request) (*url.URL, error) {
		addr, err := netip.ParseAddr(r.URL.Hostname())
		if err == nil && (addr.IsLinkLocalUnicast() || addr.IsLoopback() || ec2Addresses.Contains(addr)) {
			return nil, nil
		}
		return proxy(r)
	}
}

// ec2Addresses are what EC2 has instead of link-local IPv6 addresses.
// See https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html.
var ec2Addresses = netip.MustParsePrefix("fd00:ec2::/32")
