package wire

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

// certificate makes a certificate of template signed by issuer, or by itself
// when issuer is nil.
func certificate(t testing.TB, template x509.Certificate, issuer *tls.Certificate) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(1)
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-2 * time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(2 * time.Hour)
	}
	parent, signer := &template, any(key)
	if issuer != nil {
		parent, signer = issuer.Leaf, issuer.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func TestFailuresOfTLSAreTold(t *testing.T) {
	authority := func(name string) *tls.Certificate {
		return certificate(t, x509.Certificate{
			Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}, nil)
	}
	known, unknown := authority("Known"), authority("Unknown")
	roots := x509.NewCertPool()
	roots.AddCert(known.Leaf)
	leaf := func(issuer *tls.Certificate, names ...string) *tls.Certificate {
		return certificate(t, x509.Certificate{Subject: pkix.Name{CommonName: "receiver"}, DNSNames: names}, issuer)
	}
	with := func(c *tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{*c}} }
	good := leaf(known, "b.example")
	old := with(good)
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	mutual := with(good)
	mutual.ClientAuth = tls.RequireAnyClientCert
	past := time.Now().Add(-time.Hour)
	future := time.Now().Add(time.Hour)

	overTLS := func(config *tls.Config) func(net.Conn) {
		return func(conn net.Conn) {
			secured := tls.Server(conn, config)
			if secured.Handshake() == nil && swallow(bufio.NewReader(secured)) {
				_, _ = io.WriteString(secured, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
				_ = secured.Close()
			}
		}
	}
	for _, test := range []struct {
		name   string
		handle func(net.Conn)
		want   string
	}{
		{"good", overTLS(with(good)), ""},
		{"expired", overTLS(with(certificate(t, x509.Certificate{DNSNames: []string{"b.example"}, NotAfter: past}, known))), "TLS: certificate has expired"},
		{"not yet valid", overTLS(with(certificate(t, x509.Certificate{DNSNames: []string{"b.example"}, NotBefore: future}, known))), "TLS: certificate is not valid yet"},
		{"another host's", overTLS(with(leaf(known, "a.example"))), "TLS: certificate is valid for a.example, not b.example"},
		{"no host's", overTLS(with(leaf(known))), "TLS: certificate is not valid for any names, but wanted to match b.example"},
		{"of many hosts", overTLS(with(leaf(known, strings.Repeat("a", 60)+".example", strings.Repeat("c", 60)+".example", strings.Repeat("d", 60)+".example"))), "TLS: certificate is valid for aaaaa"},
		{"self-signed", overTLS(with(leaf(nil, "b.example"))), "TLS: certificate is self-signed"},
		{"unknown authority", overTLS(with(leaf(unknown, "b.example"))), "TLS: certificate is signed by an unknown authority, or an intermediate certificate is missing"},
		{"TLS 1.1", overTLS(old), "TLS: protocol version not supported"},
		{"client certificate", overTLS(mutual), "TLS: certificate required"},
		{"plain HTTP", once("HTTP/1.1 200 OK\r\n\r\n"), "TLS: connection closed during the handshake"},
		{"not TLS", func(conn net.Conn) {
			_, _ = io.WriteString(conn, "220 mail.example ESMTP\r\n")
			_, _ = io.Copy(io.Discard, conn)
		}, "TLS: the server does not speak TLS"},
		{"closed", func(conn net.Conn) { _, _ = conn.Read(make([]byte, 1)) }, "TLS: connection closed during the handshake"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := Options{Allow: loopback, TLS: &tls.Config{RootCAs: roots, ServerName: "b.example"}}
			_, err := post(t, newClient(t, o), "https://"+receiver(t, test.handle)+"/secret", "{}")
			if test.want == "" {
				if err != nil {
					t.Fatalf("%v, %v", err, errors.Unwrap(err))
				}
				return
			}
			if err == nil || !strings.HasPrefix(err.Error(), test.want) || len(err.Error()) > 250 {
				t.Fatalf("%v (%v), want %q", err, errors.Unwrap(err), test.want)
			}
			if cause := errors.Unwrap(err); cause == nil || strings.Contains(cause.Error(), "secret") {
				t.Errorf("cause %v", cause)
			}
		})
	}
}

func TestCertificateIsOfTheHostInTheURL(t *testing.T) {
	root := certificate(t, x509.Certificate{Subject: pkix.Name{CommonName: "Known"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil)
	roots := x509.NewCertPool()
	roots.AddCert(root.Leaf)
	config := &tls.Config{Certificates: []tls.Certificate{*certificate(t, x509.Certificate{DNSNames: []string{"a.example"}}, root)}}
	o := local
	o.TLS = &tls.Config{RootCAs: roots}
	o.Dial = piped(func(conn net.Conn) {
		secured := tls.Server(conn, config)
		if secured.Handshake() == nil && swallow(bufio.NewReader(secured)) {
			_, _ = io.WriteString(secured, "HTTP/1.1 204 No Content\r\n\r\n")
		}
	})
	c := newClient(t, o)
	for _, raw := range []string{"https://a.example/", "https://A.example./", "https://a.example:8443/"} {
		if _, err := post(t, c, raw, "{}"); err != nil {
			t.Errorf("%s: %v, %v", raw, err, errors.Unwrap(err))
		}
	}
	if _, err := post(t, c, "https://b.example/", "{}"); err == nil || err.Error() != "TLS: certificate is valid for a.example, not b.example" {
		t.Errorf("%v", err)
	}
	if _, err := post(t, c, "https://127.0.0.1/", "{}"); err == nil || err.Error() != "TLS: cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs" {
		t.Errorf("%v", err)
	}
}

func TestTextsOfCertificatesArePrintable(t *testing.T) {
	if got := printable("a\x1b[31m\nb\u00e9"); got != "a?[31m?b?" {
		t.Errorf("%q", got)
	}
}
