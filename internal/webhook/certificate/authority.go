package certificate

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"
)

const (
	authorityLife = 365 * 24 * time.Hour
	leafLife      = 30 * 24 * time.Hour
	backdated     = time.Hour // for clocks that are behind
)

// keys is the content of the Secret: the authorities that API servers should trust, the latest first, the key of the latest, and the
// certificate that is served, of any of them.
type keys struct {
	authorities  []*x509.Certificate
	authorityKey crypto.Signer
	leaf         tls.Certificate
}

// Names of the Secret's data. Those of the leaf are Kubernetes' own for such secrets.
const (
	authoritiesData  = "ca.crt"
	authorityKeyData = "ca.key"
	leafData         = "tls.crt"
	leafKeyData      = "tls.key"
)

// parseKeys reads the Secret's data. What is expired is read as well.
func parseKeys(data map[string][]byte) (*keys, error) {
	k := &keys{}
	for rest := data[authoritiesData]; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		authority, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("reading an authority: %w", err)
		}
		k.authorities = append(k.authorities, authority)
	}
	if len(k.authorities) == 0 {
		return nil, errors.New("it has no authority")
	}
	block, _ := pem.Decode(data[authorityKeyData])
	if block == nil {
		return nil, errors.New("it has no key of the authority")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("the authority's key cannot be read") // not what it says, which may tell of the key
	}
	signer, ok := key.(*ecdsa.PrivateKey)
	if !ok || !signer.PublicKey.Equal(k.authorities[0].PublicKey) {
		return nil, errors.New("the key is not that of the latest authority")
	}
	k.authorityKey = signer
	if k.leaf, err = tls.X509KeyPair(data[leafData], data[leafKeyData]); err != nil {
		return nil, errors.New("the certificate and its key do not fit together")
	}
	return k, nil
}

// data writes what parseKeys reads.
func (k *keys) data() (map[string][]byte, error) {
	authorityKey, err := x509.MarshalPKCS8PrivateKey(k.authorityKey)
	if err != nil {
		return nil, err
	}
	leafKey, err := x509.MarshalPKCS8PrivateKey(k.leaf.PrivateKey)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		authoritiesData:  k.bundle(),
		authorityKeyData: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: authorityKey}),
		leafData:         pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: k.leaf.Certificate[0]}),
		leafKeyData:      pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: leafKey}),
	}, nil
}

// bundle is what API servers are to trust: authorities only, since one who trusts a leaf has to be told of each new one.
func (k *keys) bundle() []byte {
	var bundle bytes.Buffer
	for _, authority := range k.authorities {
		_ = pem.Encode(&bundle, &pem.Block{Type: "CERTIFICATE", Bytes: authority.Raw})
	}
	return bundle.Bytes()
}

// newKeys makes an authority and a leaf of it.
func newKeys(hosts []string, now time.Time) (*keys, error) {
	k := &keys{}
	if err := k.addAuthority(now); err != nil {
		return nil, err
	}
	return k, k.issue(hosts, now)
}

// addAuthority puts a new authority before the others, of which it drops those that have expired.
func (k *keys) addAuthority(now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := template(now, authorityLife)
	template.Subject = pkix.Name{CommonName: "podid webhook authority " + now.UTC().Format("2006-01-02")}
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign
	authority, err := sign(template, template, key.Public(), key)
	if err != nil {
		return err
	}
	k.authorities = slices.DeleteFunc(k.authorities, func(c *x509.Certificate) bool { return now.After(c.NotAfter) })
	k.authorities = slices.Insert(k.authorities, 0, authority)
	k.authorityKey = key
	return nil
}

// issue makes a leaf of the latest authority.
func (k *keys) issue(hosts []string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	authority := k.authorities[0]
	template := template(now, leafLife)
	if template.NotAfter.After(authority.NotAfter) {
		template.NotAfter = authority.NotAfter
	}
	template.Subject = pkix.Name{CommonName: "podid webhook"}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	leaf, err := sign(template, authority, key.Public(), k.authorityKey)
	if err != nil {
		return err
	}
	k.leaf = tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	return nil
}

func template(now time.Time, life time.Duration) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // crypto/rand's reader does not fail
	return &x509.Certificate{SerialNumber: serial, NotBefore: now.Add(-backdated), NotAfter: now.Add(life)}
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(raw)
}

// old tells whether a certificate has lived two thirds of its life.
func old(c *x509.Certificate, now time.Time) bool {
	return now.After(c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore) / 3))
}

// serves tells whether the leaf is good for all hosts, now, and of one of the authorities.
func (k *keys) serves(hosts []string, now time.Time) bool {
	leaf := k.leaf.Leaf
	if now.After(leaf.NotAfter) || !slices.ContainsFunc(k.authorities, func(a *x509.Certificate) bool { return leaf.CheckSignatureFrom(a) == nil }) {
		return false
	}
	return !slices.ContainsFunc(hosts, func(host string) bool { return leaf.VerifyHostname(host) != nil })
}

// ofLatest tells whether the leaf is of the latest authority.
func (k *keys) ofLatest() bool { return k.leaf.Leaf.CheckSignatureFrom(k.authorities[0]) == nil }
