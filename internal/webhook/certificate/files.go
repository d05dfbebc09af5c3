// Package certificate gives the webhook the certificate it serves with: out of files that somebody else replaces, such as
// cert-manager, or out of a Secret that the webhooks of a cluster keep themselves.
package certificate

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"
)

const fileInterval = time.Second // between looks whether the files have changed

var errNone = errors.New("there is no certificate yet")

// Source has the current certificate. It is safe for concurrent use.
type Source struct {
	run     func(context.Context)
	current atomic.Pointer[tls.Certificate]
}

// Get is for [tls.Config].GetCertificate.
func (s *Source) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c := s.current.Load(); c != nil {
		return c, nil
	}
	return nil, errNone
}

// Ready tells until when the certificate is valid; an error says that there is none, or none that is valid any more.
func (s *Source) Ready(now time.Time) (string, error) {
	c := s.current.Load()
	switch {
	case c == nil:
		return "", errNone
	case c.Leaf != nil && now.After(c.Leaf.NotAfter):
		return "", fmt.Errorf("it expired at %s", c.Leaf.NotAfter.Format(time.RFC3339))
	case c.Leaf != nil:
		return "valid until " + c.Leaf.NotAfter.Format(time.RFC3339), nil
	}
	return "", nil
}

// Run keeps it current until ctx ends.
func (s *Source) Run(ctx context.Context) { s.run(ctx) }

// WatchFiles takes certificate and key from PEM files and reads them again when they change. It fails if there are none now.
func WatchFiles(certFile, keyFile string, logger *slog.Logger) (*Source, error) {
	s := &Source{}
	f := &files{Source: s, certFile: certFile, keyFile: keyFile}
	if err := f.look(); err != nil {
		return nil, fmt.Errorf("reading the certificate: %w", err)
	}
	s.run = func(ctx context.Context) {
		tick := time.NewTicker(fileInterval)
		defer tick.Stop()
		said := ""
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			text := ""
			if err := f.look(); err != nil { // also between the writing of the one file and of the other
				text = err.Error()
			}
			if text != "" && text != said {
				logger.Error("certificate could not be read again; the older one is served", "err", text)
			}
			said = text
		}
	}
	return s, nil
}

type files struct {
	*Source
	certFile, keyFile string
	cert, key         []byte // as they were read last
}

func (f *files) look() error {
	cert, err := os.ReadFile(f.certFile)
	if err != nil {
		return err
	}
	key, err := os.ReadFile(f.keyFile)
	if err != nil {
		return err
	}
	if bytes.Equal(cert, f.cert) && bytes.Equal(key, f.key) {
		return nil
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return err
	}
	f.current.Store(&pair)
	f.cert, f.key = cert, key
	return nil
}
