package wire_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/podid/podid/internal/audit"
	"github.com/podid/podid/internal/server/servertest"
	"github.com/podid/podid/internal/wire"
)

type thing struct {
	Name string `form:"Name" json:"name" xml:"Name"`
}

// disk is an audit log's file that can be full.
type disk struct {
	mu   sync.Mutex
	full bool
	text bytes.Buffer
}

func (d *disk) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.full {
		return 0, errors.New("no space left on device")
	}
	return d.text.Write(p)
}

func (d *disk) fill(full bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = full
}

// service is a service whose one operation does as it is told, served alone.
type service struct {
	*httptest.Server
	log      servertest.Log
	audit    disk
	registry *prometheus.Registry
}

func serve(t *testing.T, protocol wire.Protocol, route string, do func(context.Context, *wire.Call, *thing) (*thing, error), change func(*wire.Config)) *service {
	t.Helper()
	s := &service{registry: prometheus.NewRegistry()}
	cfg := wire.Config{Audit: audit.New(&s.audit, 1), Metrics: wire.NewMetrics(s.registry), Logger: slog.New(slog.NewJSONHandler(&s.log, nil)), Now: time.Now}
	if change != nil {
		change(&cfg)
	}
	refuse := func(status int, code string) func(string) *wire.Error {
		return func(message string) *wire.Error { return &wire.Error{Code: code, Status: status, Message: message} }
	}
	s.Server = httptest.NewServer(wire.New(cfg, wire.Service{
		Name: "test", Protocol: protocol, Denied: refuse(403, "AccessDenied"), Fault: refuse(500, "InternalFailure"),
		Operations: []wire.Operation{wire.Op("Do", route, nil, do).Anonymous()},
	}))
	t.Cleanup(s.Close)
	return s
}

const namespace = "https://test.example.com/doc/"

// protocols are both of them, and a request of each.
var protocols = map[string]struct {
	wire.Protocol
	route, contentType, body, path string
}{
	"restJson1": {wire.RESTJSON(), "POST /do", "application/json", `{"name":"carts"}`, "/do"},
	"awsQuery":  {wire.Query("1", namespace), "", "application/x-www-form-urlencoded", "Action=Do&Version=1&Name=carts", "/"},
}

func eachProtocol(t *testing.T, do func(context.Context, *wire.Call, *thing) (*thing, error), change func(*wire.Config),
	test func(t *testing.T, s *service, post func() (*http.Response, string))) {
	for name, p := range protocols {
		t.Run(name, func(t *testing.T) {
			s := serve(t, p.Protocol, p.route, do, change)
			test(t, s, func() (*http.Response, string) {
				resp, err := http.Post(s.URL+p.path, p.contentType, strings.NewReader(p.body))
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				if err != nil {
					t.Fatal(err)
				}
				return resp, string(body)
			})
		})
	}
}

// A fault and a panic give the client a request id and nothing of their cause; the log has both.
func TestFault(t *testing.T) {
	for name, do := range map[string]func(context.Context, *wire.Call, *thing) (*thing, error){
		"fault": func(context.Context, *wire.Call, *thing) (*thing, error) {
			return nil, fmt.Errorf("reading: %w", errors.New("etcd is on fire"))
		},
		"panic": func(context.Context, *wire.Call, *thing) (*thing, error) { panic("etcd is on fire") },
	} {
		t.Run(name, func(t *testing.T) {
			eachProtocol(t, do, nil, func(t *testing.T, s *service, post func() (*http.Response, string)) {
				for range 2 { // it lives on
					resp, body := post()
					id := resp.Header.Get("X-Amzn-Requestid")
					if resp.StatusCode != 500 || !strings.Contains(body, "InternalFailure") || strings.Contains(body, "fire") || id == "" || !strings.Contains(body, id) {
						t.Errorf("%d %s", resp.StatusCode, body)
					}
					if log := s.log.String(); !strings.Contains(log, "etcd is on fire") || strings.Count(log, id) != 2 {
						t.Errorf("the log does not name cause and request %s: %s", id, log)
					}
				}
				if got := counted(t, s.registry, "test", "Do", "InternalFailure"); got != 2 {
					t.Errorf("%v faults counted, want 2", got)
				}
			})
		})
	}
}

// counted reads a series of podid_api_requests_total.
func counted(t *testing.T, registry *prometheus.Registry, service, operation, code string) (total float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			if family.GetName() == "podid_api_requests_total" && labels["service"] == service && labels["operation"] == operation && labels["code"] == code {
				total += m.GetCounter().GetValue()
			}
		}
	}
	return total
}

// What cannot be recorded does not reach the client.
func TestAuditFailure(t *testing.T) {
	do := func(context.Context, *wire.Call, *thing) (*thing, error) { return &thing{"credentials"}, nil }
	eachProtocol(t, do, nil, func(t *testing.T, s *service, post func() (*http.Response, string)) {
		if resp, body := post(); resp.StatusCode != 200 || !strings.Contains(body, "credentials") {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
		s.audit.fill(true)
		resp, body := post()
		if resp.StatusCode != 500 || strings.Contains(body, "credentials") || strings.Contains(body, "no space") || !strings.Contains(body, "InternalFailure") {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
		if log := s.log.String(); !strings.Contains(log, "no space left on device") {
			t.Errorf("log %s", log)
		}
		s.audit.fill(false)
		if resp, _ := post(); resp.StatusCode != 200 {
			t.Errorf("%d after the disk has space again", resp.StatusCode)
		}
		if lines := strings.Count(s.audit.text.String(), "\n"); lines != 2 {
			t.Errorf("%d audit lines, want 2", lines)
		}
	})
}

// A client that sends its body slowly is answered at the deadline, and its connection closed.
func TestSlowClient(t *testing.T) {
	do := func(context.Context, *wire.Call, *thing) (*thing, error) { return &thing{}, nil }
	for name, p := range protocols {
		t.Run(name, func(t *testing.T) {
			s := serve(t, p.Protocol, p.route, do, func(cfg *wire.Config) { cfg.BodyDeadline = 50 * time.Millisecond })
			connection, err := net.Dial("tcp", s.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer connection.Close()
			_, err = fmt.Fprintf(connection, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: 100\r\n\r\n{", p.path, p.contentType)
			if err != nil {
				t.Fatal(err)
			}
			_ = connection.SetReadDeadline(time.Now().Add(20 * time.Second)) // else a server that waits forever hangs the test
			reader := bufio.NewReader(connection)
			resp, err := http.ReadResponse(reader, nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != http.StatusRequestTimeout || !strings.Contains(string(body), "RequestTimeout") {
				t.Errorf("%d %s %v", resp.StatusCode, body, err)
			}
			if _, err := reader.ReadByte(); !errors.Is(err, io.EOF) {
				t.Errorf("the connection stays open: %v", err)
			}
		})
	}
}

// The deadline of the body is not that of the call.
func TestCallOutlivesBodyDeadline(t *testing.T) {
	do := func(ctx context.Context, _ *wire.Call, _ *thing) (*thing, error) {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
			return &thing{"done"}, nil
		}
	}
	for name, p := range protocols {
		t.Run(name, func(t *testing.T) {
			s := serve(t, p.Protocol, p.route, do, func(cfg *wire.Config) { cfg.BodyDeadline = 50 * time.Millisecond })
			for _, send := range []struct{ query, body string }{{"", p.body}, {"?Action=Do&Version=1", ""}} {
				resp, err := http.Post(s.URL+p.path+send.query, p.contentType, strings.NewReader(send.body))
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if body, err := io.ReadAll(resp.Body); resp.StatusCode != 200 || !strings.Contains(string(body), "done") {
					t.Errorf("with body %q: %d %s %v: %s", send.body, resp.StatusCode, body, err, s.log.String())
				}
			}
		})
	}
}

// Answers are escaped, whatever is in them.
func TestEscaping(t *testing.T) {
	const odd = "<a b=\"c\">&amp;]]>\x00\u20ac"
	for name, do := range map[string]func(context.Context, *wire.Call, *thing) (*thing, error){
		"answer": func(context.Context, *wire.Call, *thing) (*thing, error) { return &thing{odd}, nil },
		"error": func(context.Context, *wire.Call, *thing) (*thing, error) {
			return nil, &wire.Error{Code: "Odd", Status: 400, Message: odd}
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachProtocol(t, do, nil, func(t *testing.T, s *service, post func() (*http.Response, string)) {
				if resp, body := post(); strings.Contains(body, "<a b") && resp.Header.Get("Content-Type") == "text/xml" || strings.Contains(body, "\x00") {
					t.Errorf("%s", body)
				}
			})
		})
	}
}
