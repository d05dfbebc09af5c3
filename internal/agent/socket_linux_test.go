package agent

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"syscall"
	"testing"
)

// An address that the node does not have does not keep the agent from serving those that it has, and is told of.
func TestAbsentAddress(t *testing.T) {
	absent := "192.0.2.1"
	for name, tt := range map[string]struct {
		hosts  []string
		status int
		report string
	}{
		"one of two": {[]string{"127.0.0.1", absent}, 200, "127.0.0.1 serves\n192.0.2.1 does not serve: not an address of this node\n"},
		"both":       {[]string{absent, "2001:db8::1"}, 500, "2001:db8::1 does not serve: not an address of this node\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out logs
			a := start(t, newUpstream(t, nil), func(c *Config) { c.BindHosts, c.Logger = tt.hosts, out.logger() })
			observe := "http://" + a.listeners[len(a.listeners)-1].Addr().String()
			for _, page := range []string{"/readyz", "/healthz"} {
				resp, body := fetch(t, observe+page+"?verbose", "")
				if resp.StatusCode != tt.status || !strings.Contains(body, tt.report) {
					t.Errorf("%s: %s %s", page, resp.Status, body)
				}
				if resp, body := fetch(t, observe+page, ""); resp.StatusCode != tt.status || strings.Contains(body, absent) {
					t.Errorf("%s: %s %s", page, resp.Status, body)
				}
			}
			_, body := fetch(t, observe+"/metrics", "")
			if !strings.Contains(body, "\npod_identity_address_served{address=\"192.0.2.1\"} 0\n") ||
				strings.Contains(body, "\npod_identity_address_served{address=\"127.0.0.1\"} 1\n") != (tt.status == 200) {
				t.Errorf("metrics: %s", body)
			}
			if text := out.String(); !strings.Contains(text, "address is not served") || !strings.Contains(text, absent) {
				t.Errorf("log: %s", text)
			}
		})
	}
}

// Without IPv6 in the kernel not even a socket can be had.
func TestEndpointThatCannotBeBound(t *testing.T) {
	a := start(t, newUpstream(t, nil), nil)
	missing := endpoint{host: netip.MustParseAddr("fd00:ec2::23"), err: syscall.EAFNOSUPPORT}
	without := &Agent{prober: a.prober, log: a.log, endpoints: []endpoint{a.endpoints[0], missing}}
	if addrs := without.Addrs(); len(addrs) != 1 {
		t.Errorf("addresses: %v", addrs)
	}
	rec := httptest.NewRecorder()
	without.probes().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/readyz?verbose", nil))
	want := "fd00:ec2::23 does not serve: not an address of this node: address family not supported by protocol\n"
	if rec.Code != 200 || !strings.HasSuffix(rec.Body.String(), want) {
		t.Errorf("got %d %s", rec.Code, rec.Body)
	}
}

func TestFreeBind(t *testing.T) {
	for _, addr := range []string{"192.0.2.1:0", "[2001:db8::1]:0"} {
		l, err := (&net.ListenConfig{Control: freeBind}).Listen(t.Context(), "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = l.Close()
		if _, err := net.Listen("tcp", addr); !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Errorf("%s is an address of this machine, so this test says nothing: %v", addr, err)
		}
	}
}
