package webhook

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
)

// issued is a certificate with its key.
type issued struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

var serial = big.NewInt(0)

// issue signs a certificate of the template, by itself where by is nil.
func issue(t testing.TB, template x509.Certificate, by *issued) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return issueFor(t, key, template, by)
}

func issueFor(t testing.TB, key crypto.Signer, template x509.Certificate, by *issued) *issued {
	t.Helper()
	serial = new(big.Int).Add(serial, big.NewInt(1))
	template.SerialNumber = serial
	if template.NotBefore.IsZero() {
		template.NotBefore = time.Now().Add(-3 * time.Hour)
	}
	if template.NotAfter.IsZero() {
		template.NotAfter = time.Now().Add(3 * time.Hour)
	}
	parent, signer := &template, key
	if by != nil {
		parent, signer = by.certificate, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issued{c, key}
}

// authority issues the certificate of an authority.
func authority(t testing.TB, name string, by *issued) *issued {
	t.Helper()
	return issue(t, x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, by)
}

// server and client issue certificates of receivers on loopback and of senders.
func (by *issued) server(t testing.TB, template x509.Certificate) *issued {
	if template.DNSNames == nil {
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	template.Subject.CommonName = "receiver"
	return issue(t, template, by)
}

func (by *issued) client(t testing.TB, template x509.Certificate) *issued {
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if template.Subject.CommonName == "" {
		template.Subject.CommonName = "sender"
	}
	return issue(t, template, by)
}

func (c *issued) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.certificate.Raw}))
}

func (c *issued) keyPEM(t testing.TB) Secret {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		t.Fatal(err)
	}
	return Secret{Value: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))}
}

func (c *issued) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(c.certificate)
	return p
}

// with returns what a receiver with this certificate, and intermediate ones,
// shows.
func (c *issued) with(chain ...*issued) tls.Certificate {
	pair := tls.Certificate{Certificate: [][]byte{c.certificate.Raw}, PrivateKey: c.key}
	for _, i := range chain {
		pair.Certificate = append(pair.Certificate, i.certificate.Raw)
	}
	return pair
}

// tlsReceiver is an HTTPS server on loopback. It remembers its connections and
// whom they showed themselves as.
type tlsReceiver struct {
	*httptest.Server
	mu     sync.Mutex
	shown  []string
	opened int
	closed chan struct{} // one for each that was closed
}

func newTLSReceiver(t *testing.T, config *tls.Config, h2 bool) *tlsReceiver {
	t.Helper()
	r := &tlsReceiver{closed: make(chan struct{}, 100)}
	r.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		name := ""
		if len(q.TLS.PeerCertificates) > 0 {
			name = q.TLS.PeerCertificates[0].Subject.CommonName
		}
		r.mu.Lock()
		r.shown = append(r.shown, name)
		r.mu.Unlock()
		_, _ = io.WriteString(w, q.Proto)
	}))
	r.EnableHTTP2, r.TLS = h2, config
	r.Config.ErrorLog = log.New(io.Discard, "", 0)
	r.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			r.mu.Lock()
			r.opened++
			r.mu.Unlock()
		case http.StateClosed:
			r.closed <- struct{}{}
		}
	}
	r.StartTLS()
	t.Cleanup(r.Close)
	return r
}

// seen returns who showed themselves, and how many connections there were.
func (r *tlsReceiver) seen() ([]string, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.shown, r.opened
}

var onLoopback = Network{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}

func TestTLSOfReceivers(t *testing.T) {
	known, unknown := authority(t, "Known", nil), authority(t, "Unknown", nil)
	between := authority(t, "Between", known)
	selfSigned := issue(t, x509.Certificate{Subject: pkix.Name{CommonName: "receiver"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, nil)
	good := known.server(t, x509.Certificate{})
	hour := time.Now().Add(time.Hour)
	serving := func(c tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{c}} }
	mutual := func() *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{good.with()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: known.pool()}
	}
	mutual12 := mutual()
	mutual12.MaxVersion = tls.VersionTLS12
	old := serving(good.with())
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	identity := func(c *issued) EndpointTLS {
		return EndpointTLS{RootCAs: known.pem(), Certificate: c.pem(), Key: c.keyPEM(t)}
	}
	for _, tt := range []struct {
		name   string
		server *tls.Config
		tls    EndpointTLS
		want   []string // begins with any of these; none: success
	}{
		{name: "good", server: serving(good.with())},
		{name: "through an intermediate", server: serving(between.server(t, x509.Certificate{}).with(between))},
		{name: "expired", server: serving(known.server(t, x509.Certificate{NotAfter: time.Now().Add(-time.Hour)}).with()), want: []string{"TLS: certificate has expired"}},
		{name: "not yet valid", server: serving(known.server(t, x509.Certificate{NotBefore: hour}).with()), want: []string{"TLS: certificate is not valid yet"}},
		{name: "another host's", server: serving(known.server(t, x509.Certificate{DNSNames: []string{"a.example"}}).with()), want: []string{"TLS: cannot validate certificate for 127.0.0.1 because it doesn't contain any IP SANs"}},
		{name: "another address's", server: serving(issue(t, x509.Certificate{Subject: pkix.Name{CommonName: "r"}, IPAddresses: []net.IP{net.IPv4(192, 0, 2, 1)}}, known).with()), want: []string{"TLS: certificate is valid for 192.0.2.1, not 127.0.0.1"}},
		{name: "self-signed", server: serving(selfSigned.with()), want: []string{"TLS: certificate is self-signed"}},
		{name: "self-signed and known", server: serving(selfSigned.with()), tls: EndpointTLS{RootCAs: selfSigned.pem()}},
		{name: "unknown authority", server: serving(unknown.server(t, x509.Certificate{}).with()), want: []string{"TLS: certificate is signed by an unknown authority, or an intermediate certificate is missing"}},
		{name: "authority known to this endpoint", server: serving(unknown.server(t, x509.Certificate{}).with()), tls: EndpointTLS{RootCAs: known.pem() + unknown.pem()}},
		{name: "authority known to others alone", server: serving(good.with()), tls: EndpointTLS{RootCAs: unknown.pem()}, want: []string{"TLS: certificate is signed by an unknown authority"}},
		{name: "missing intermediate", server: serving(between.server(t, x509.Certificate{}).with()), want: []string{"TLS: certificate is signed by an unknown authority, or an intermediate certificate is missing"}},
		{name: "a client's certificate", server: serving(known.client(t, x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}).with()), want: []string{"TLS: certificate specifies an incompatible key usage"}},
		{name: "TLS 1.1", server: old, want: []string{"TLS: protocol version not supported"}},
		{name: "no client certificate", server: mutual(), want: []string{"TLS: certificate required"}},
		{name: "no client certificate, TLS 1.2", server: mutual12, want: []string{"TLS: handshake failure", "TLS: bad certificate", "TLS: certificate required"}},
		{name: "wrong client certificate", server: mutual(), tls: identity(unknown.client(t, x509.Certificate{})), want: []string{"TLS: unknown certificate authority", "TLS: bad certificate"}},
		{name: "wrong client certificate, TLS 1.2", server: mutual12, tls: identity(unknown.client(t, x509.Certificate{})), want: []string{"TLS: unknown certificate authority", "TLS: bad certificate"}},
		{name: "a receiver's as client certificate", server: mutual(), tls: identity(known.server(t, x509.Certificate{})), want: []string{"TLS: bad certificate", "TLS: unsupported certificate"}},
		{name: "right client certificate", server: mutual(), tls: identity(known.client(t, x509.Certificate{}))},
		{name: "right client certificate, TLS 1.2", server: mutual12, tls: identity(known.client(t, x509.Certificate{}))},
		{name: "right client certificate through an intermediate", server: mutual(), tls: func() EndpointTLS {
			c := between.client(t, x509.Certificate{})
			return EndpointTLS{RootCAs: known.pem(), Certificate: c.pem() + between.pem(), Key: c.keyPEM(t)}
		}()},
	} {
		for _, h2 := range []bool{false, true} {
			proto := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[h2]
			t.Run(tt.name+" over "+proto, func(t *testing.T) {
				r := newTLSReceiver(t, tt.server.Clone(), h2)
				config := Config{Network: onLoopback}
				config.Network.TLS = &tls.Config{RootCAs: known.pool()}
				d := newDispatcher(t, NewMemoryStore(), config)
				e := register(t, d.View, Endpoint{URL: r.URL + "/secret", TLS: tt.tls})
				a, err := d.SendTest(t.Context(), e.ID, "test")
				if err != nil {
					t.Fatal(err)
				}
				if len(tt.want) == 0 {
					if a.Error != "" || string(a.ResponseBody) != proto {
						t.Errorf("%q, %q", a.Error, a.ResponseBody)
					}
					return
				}
				if asks := tt.server.ClientAuth == tls.RequireAndVerifyClientCert; asks {
					tt.want = append(tt.want, "TLS: connection closed after a client certificate was asked for")
				}
				for _, want := range tt.want {
					if strings.HasPrefix(a.Error, want) {
						return
					}
				}
				t.Errorf("%q, want %q", a.Error, tt.want)
			})
		}
	}
}

func TestClientCertificatesOfTheNetwork(t *testing.T) {
	known, customer := authority(t, "Known", nil), authority(t, "Customer", nil)
	pool := known.pool()
	pool.AddCert(customer.certificate)
	r := newTLSReceiver(t, &tls.Config{
		Certificates: []tls.Certificate{known.server(t, x509.Certificate{}).with()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
	}, false)
	ours := known.client(t, x509.Certificate{Subject: pkix.Name{CommonName: "ours"}}).with()
	theirs := customer.client(t, x509.Certificate{Subject: pkix.Name{CommonName: "theirs"}})
	for name, config := range map[string]*tls.Config{
		"Certificates":         {RootCAs: known.pool(), Certificates: []tls.Certificate{ours}},
		"GetClientCertificate": {RootCAs: known.pool(), GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &ours, nil }},
	} {
		t.Run(name, func(t *testing.T) {
			n := onLoopback
			n.TLS = config
			d := newDispatcher(t, NewMemoryStore(), Config{Network: n})
			for want, e := range map[string]Endpoint{
				"ours":   {TLS: EndpointTLS{RootCAs: known.pem()}},
				"theirs": {TLS: EndpointTLS{Certificate: theirs.pem(), Key: theirs.keyPEM(t)}},
			} {
				e.URL = r.URL
				e = register(t, d.View, e)
				if a, err := d.SendTest(t.Context(), e.ID, "test"); err != nil || a.Error != "" {
					t.Fatalf("%s: %q, %v", want, a.Error, err)
				}
				if shown, _ := r.seen(); shown[len(shown)-1] != want {
					t.Errorf("%s is shown, want %s", shown[len(shown)-1], want)
				}
			}
		})
	}
}

func TestVerificationIsAlwaysOn(t *testing.T) {
	for name, config := range map[string]Config{
		"Network":          {Network: Network{TLS: &tls.Config{InsecureSkipVerify: true}}},
		`Networks["acme"]`: {Networks: map[string]Network{"acme": {TLS: &tls.Config{InsecureSkipVerify: true}}}},
	} {
		_, err := NewDispatcher(NewMemoryStore(), config)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), name+": invalid: TLS.InsecureSkipVerify: certificates are always verified") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTLSThatIsRefused(t *testing.T) {
	ca := authority(t, "CA", nil)
	good, other := ca.client(t, x509.Certificate{}), ca.client(t, x509.Certificate{})
	key := good.keyPEM(t)
	expired := ca.client(t, x509.Certificate{NotAfter: time.Now().Add(-time.Hour)})
	encrypted := string(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("canary")}))
	legacy := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"DEK-Info": "AES-256-CBC,canary"}, Bytes: []byte("canary")}))
	block := func(kind, body string) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte(body)}))
	}
	const canary = "Y2FuYXJ5" // "canary" in base64
	d := newDispatcher(t, NewMemoryStore(), Config{Network: Network{AllowHTTP: true}})
	for _, tt := range []struct {
		name, url string
		tls       EndpointTLS
		want      []string
	}{
		{"a key as authority", "", EndpointTLS{RootCAs: key.Value}, []string{"TLS.RootCAs: invalid: there is a private key in it"}},
		{"a key behind the certificate", "", EndpointTLS{Certificate: good.pem() + key.Value, Key: key}, []string{"TLS.Certificate: invalid: there is a private key in it"}},
		{"no PEM", "", EndpointTLS{RootCAs: "canary"}, []string{"TLS.RootCAs: invalid: not PEM"}},
		{"no certificate", "", EndpointTLS{RootCAs: block("canary", "x")}, []string{"TLS.RootCAs: invalid: there is something else"}},
		{"rubbish behind it", "", EndpointTLS{RootCAs: ca.pem() + "canary"}, []string{"TLS.RootCAs: invalid: not PEM"}},
		{"half a block before it", "", EndpointTLS{RootCAs: "-----BEGIN PRIVATE KEY-----\ncanary\n" + ca.pem()}, []string{"TLS.RootCAs: invalid: "}},
		{"malformed", "", EndpointTLS{RootCAs: ca.pem() + block("CERTIFICATE", "canary")}, []string{"TLS.RootCAs: invalid: certificate 2 is malformed"}},
		{"too many authorities", "", EndpointTLS{RootCAs: strings.Repeat(ca.pem(), 200)}, []string{"TLS.RootCAs: invalid: more than 65536 bytes"}},
		{"too long a chain", "", EndpointTLS{Certificate: strings.Repeat(good.pem(), 100), Key: key}, []string{"TLS.Certificate: invalid: more than 32768 bytes"}},
		{"too long a key", "", EndpointTLS{Certificate: good.pem(), Key: Secret{Value: key.Value + strings.Repeat("\n", 20<<10)}}, []string{"TLS.Key: invalid: private key: more than 16384 bytes"}},
		{"no key", "", EndpointTLS{Certificate: good.pem()}, []string{"TLS.Key: invalid: private key: not PEM"}},
		{"no key in it", "", EndpointTLS{Certificate: good.pem(), Key: Secret{Value: good.pem()}}, []string{"TLS.Key: invalid: private key: not PEM"}},
		{"no PEM for a key", "", EndpointTLS{Certificate: good.pem(), Key: Secret{Value: "canary"}}, []string{"TLS.Key: invalid: private key: not PEM"}},
		{"malformed key", "", EndpointTLS{Certificate: good.pem(), Key: Secret{Value: block("PRIVATE KEY", "canary")}}, []string{"TLS.Key: invalid: private key: malformed"}},
		{"malformed RSA key", "", EndpointTLS{Certificate: good.pem(), Key: Secret{Value: block("RSA PRIVATE KEY", "canary")}}, []string{"TLS.Key: invalid: private key: malformed"}},
		{"malformed EC key", "", EndpointTLS{Certificate: good.pem(), Key: Secret{Value: block("EC PRIVATE KEY", "canary")}}, []string{"TLS.Key: invalid: private key: malformed"}},
		{"unknown key", "", EndpointTLS{Certificate: good.pem(), Key: Secret{Value: block("OPENSSH PRIVATE KEY", "canary")}}, []string{"TLS.Key: invalid: private key: not PEM"}},
		{"encrypted key", "", EndpointTLS{Certificate: good.pem(), Key: Secret{Value: encrypted}}, []string{"TLS.Key: invalid: private key: it is encrypted"}},
		{"encrypted the old way", "", EndpointTLS{Certificate: good.pem(), Key: Secret{Value: legacy}}, []string{"TLS.Key: invalid: private key: it is encrypted"}},
		{"another's key", "", EndpointTLS{Certificate: good.pem(), Key: other.keyPEM(t)}, []string{"TLS.Key: invalid: private key: it is not that of the first certificate"}},
		{"the wrong order", "", EndpointTLS{Certificate: ca.pem() + good.pem(), Key: key}, []string{"TLS.Key: invalid: private key: it is not that of the first certificate"}},
		{"a key alone", "", EndpointTLS{Key: key}, []string{"TLS.Key: invalid: there is no Certificate"}},
		{"expired", "", EndpointTLS{Certificate: expired.pem(), Key: expired.keyPEM(t)}, []string{"TLS.Certificate: invalid: it has expired on "}},
		{"http", "http://a.example/", EndpointTLS{RootCAs: ca.pem()}, []string{"TLS: invalid: the URL is not https"}},
		{"all at once", "http://a.example/", EndpointTLS{RootCAs: "canary", Certificate: "canary", Key: key}, []string{"TLS: invalid", "TLS.RootCAs: invalid", "TLS.Certificate: invalid"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.url == "" {
				tt.url = "HTTPS://a.example/"
			}
			_, err := d.Register(t.Context(), Endpoint{URL: tt.url, TLS: tt.tls})
			for _, want := range tt.want {
				if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
					t.Errorf("%v does not say %q", err, want)
				}
			}
			if err != nil && (strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "-----") || strings.Contains(err.Error(), key.Value[40:60])) {
				t.Errorf("the error repeats what was given: %v", err)
			}
		})
	}
}

func TestKeysOfEveryKind(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(ecKey)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := authority(t, "CA", nil)
	r := newTLSReceiver(t, &tls.Config{
		Certificates: []tls.Certificate{ca.server(t, x509.Certificate{}).with()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool(),
	}, false)
	d := newDispatcher(t, NewMemoryStore(), Config{Network: onLoopback})
	encode := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	for _, tt := range []struct {
		name string
		key  crypto.Signer
		pem  string // else PKCS #8
	}{
		{"RSA in PKCS 8", rsaKey, ""},
		{"RSA in PKCS 1", rsaKey, encode("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey))},
		{"EC in PKCS 8", ecKey, ""},
		{"EC in SEC 1", ecKey, encode("EC PARAMETERS", []byte{6, 5}) + encode("EC PRIVATE KEY", sec1)},
		{"ed25519", edKey, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := issueFor(t, tt.key, x509.Certificate{Subject: pkix.Name{CommonName: tt.name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, ca)
			key := Secret{Value: tt.pem}
			if tt.pem == "" {
				key = c.keyPEM(t)
			}
			e := register(t, d.View, Endpoint{URL: r.URL, TLS: EndpointTLS{RootCAs: ca.pem(), Certificate: c.pem(), Key: key}})
			if a, err := d.SendTest(t.Context(), e.ID, "test"); err != nil || a.Error != "" {
				t.Fatalf("%q, %v", a.Error, err)
			}
			if shown, _ := r.seen(); shown[len(shown)-1] != tt.name {
				t.Errorf("%q is shown", shown[len(shown)-1])
			}
		})
	}
}

func TestTheKeyIsKeptAndNeverReadBack(t *testing.T) {
	ca := authority(t, "CA", nil)
	first := ca.client(t, x509.Certificate{NotAfter: time.Now().Add(time.Hour).Truncate(time.Second)})
	key := first.keyPEM(t)
	renewed := issueFor(t, first.key, x509.Certificate{Subject: pkix.Name{CommonName: "renewed"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, ca)
	second := ca.client(t, x509.Certificate{Subject: pkix.Name{CommonName: "second"}})
	r := newTLSReceiver(t, &tls.Config{
		Certificates: []tls.Certificate{ca.server(t, x509.Certificate{}).with()}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: ca.pool(),
	}, false)
	logger, logs := observedLog()
	var seen notices
	store := NewMemoryStore()
	d := newDispatcher(t, store, Config{Network: onLoopback, Logger: logger, Observer: &seen})
	var told strings.Builder
	tell := func(v any, err error) {
		encoded, _ := json.Marshal(v)
		fmt.Fprintf(&told, "%v %+v %#v %s\n", err, v, v, encoded)
	}
	shows := func(e Endpoint, want string) {
		t.Helper()
		a, err := d.SendTest(t.Context(), e.ID, "test")
		tell(a, err)
		shown, _ := r.seen()
		if err != nil || a.Error != "" || shown[len(shown)-1] != want {
			t.Errorf("%q is shown, want %q; %q, %v", shown[len(shown)-1], want, a.Error, err)
		}
	}
	update := func(e Endpoint) Endpoint {
		t.Helper()
		updated, err := d.Update(t.Context(), e)
		tell(updated, err)
		if err != nil {
			t.Fatal(err)
		}
		if updated.TLS.Key != (Secret{}) {
			t.Error("Update returns the key")
		}
		return updated
	}

	e := register(t, d.View, Endpoint{URL: r.URL, TLS: EndpointTLS{RootCAs: ca.pem(), Certificate: first.pem(), Key: key, NotAfter: time.Unix(1, 0)}})
	tell(e, nil)
	if e.TLS.Key != (Secret{}) || !e.TLS.NotAfter.Equal(first.certificate.NotAfter) {
		t.Errorf("Register returns %+v", e.TLS)
	}
	shows(e, "sender")
	e, err := d.Endpoint(t.Context(), e.ID)
	tell(e, err)
	if err != nil || e.TLS.Key != (Secret{}) || e.TLS.Certificate != first.pem() || e.TLS.RootCAs != ca.pem() || !e.TLS.NotAfter.Equal(first.certificate.NotAfter) {
		t.Errorf("Endpoint returns %+v, %v", e.TLS, err)
	}
	page, err := d.Endpoints(t.Context(), EndpointFilter{})
	tell(page, err)
	if err != nil || len(page.Items) != 1 || page.Items[0].TLS.Key != (Secret{}) {
		t.Errorf("Endpoints returns %+v, %v", page.Items, err)
	}

	e.Description = "changed"
	e = update(e)
	shows(e, "sender")
	if _, err := d.RotateSecret(t.Context(), e.ID, Secret{}, 0); err != nil {
		t.Fatal(err)
	}
	e.Rev = 0
	e.TLS.Certificate = renewed.pem() // under the same key
	e = update(e)
	shows(e, "renewed")
	e.TLS.Certificate = second.pem()
	_, err = d.Update(t.Context(), e)
	tell(nil, err)
	if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "TLS.Key") {
		t.Errorf("a certificate without its key: %v", err)
	}
	e.TLS.Key = second.keyPEM(t)
	e = update(e)
	shows(e, "second")
	e.TLS.Certificate = ""
	e = update(e)
	if !e.TLS.NotAfter.IsZero() {
		t.Errorf("without a certificate: %+v", e.TLS)
	}
	shows(e, "")
	record, err := store.GetEndpoint(t.Context(), e.ID)
	if err != nil || strings.Contains(string(record.Config), "PRIVATE KEY") {
		t.Errorf("a key that is not used any more is kept: %s, %v", record.Config, err)
	}
	e.TLS = EndpointTLS{}
	e = update(e)
	if a, err := d.SendTest(t.Context(), e.ID, "test"); err != nil || !strings.HasPrefix(a.Error, "TLS: certificate is signed by an unknown authority") {
		t.Errorf("with the system's authorities: %q, %v", a.Error, err)
	}

	for _, entry := range logs.All() {
		tell(entry.ContextMap(), errors.New(entry.Message))
	}
	for _, n := range seen.all() {
		tell(n, nil)
	}
	for n, k := range []Secret{key, second.keyPEM(t)} {
		body := strings.Split(k.Value, "\n")[1]
		if at := strings.Index(told.String(), body[20:40]); at >= 0 {
			t.Errorf("key %d is told: …%s…", n, told.String()[max(0, at-200):at+20])
		}
	}
}

// A certificate expires without anybody doing anything. Its owner must be able to
// see that, and to change everything else.
func TestACertificateThatHasExpiredMeanwhile(t *testing.T) {
	ca := authority(t, "CA", nil)
	expired := ca.client(t, x509.Certificate{NotAfter: time.Now().Add(-time.Hour)})
	r := newTLSReceiver(t, &tls.Config{
		Certificates: []tls.Certificate{ca.server(t, x509.Certificate{}).with()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool(),
	}, false)
	store := NewMemoryStore()
	logger, logs := observedLog()
	d := newDispatcher(t, store, Config{Network: onLoopback, Logger: logger})
	record, err := Endpoint{ID: "e", URL: r.URL, Events: []string{"*"}, Secrets: []Secret{NewSecret()}, TLS: EndpointTLS{
		RootCAs: ca.pem(), Certificate: expired.pem(), Key: expired.keyPEM(t), NotAfter: expired.certificate.NotAfter,
	}}.record()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.PutEndpoint(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	e, err := d.Endpoint(t.Context(), "e")
	if err != nil || !e.TLS.NotAfter.Equal(expired.certificate.NotAfter) {
		t.Errorf("%+v, %v", e.TLS, err)
	}
	e.Description = "changed"
	if _, err := d.Update(t.Context(), e); err != nil {
		t.Errorf("nothing can be changed any more: %v", err)
	}
	a, err := d.SendTest(t.Context(), "e", "test")
	if err != nil || a.Error != "TLS: expired certificate" && !strings.HasPrefix(a.Error, "TLS: bad certificate") {
		t.Errorf("%q, %v", a.Error, err)
	}
	if n := logs.FilterLevelExact(zap.WarnLevel).FilterMessageSnippet("expired").Len(); n != 1 {
		t.Errorf("it is logged %d times", n)
	}
}

// Connections that were made with an endpoint's certificate are its own, and end
// with it.
func TestConnectionsOfAnEndpointWithTLSOfItsOwn(t *testing.T) {
	ca := authority(t, "CA", nil)
	r := newTLSReceiver(t, &tls.Config{
		Certificates: []tls.Certificate{ca.server(t, x509.Certificate{}).with()}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: ca.pool(),
	}, true)
	n := onLoopback
	n.TLS = &tls.Config{RootCAs: ca.pool()}
	delivered := make(chan string, 10)
	d := newDispatcher(t, NewMemoryStore(), Config{Network: n, Observer: observing(func(n DeliveryDelivered) { delivered <- n.Delivery.EndpointID })})
	var ids []string
	for _, name := range []string{"one", "two", ""} {
		e := Endpoint{URL: r.URL}
		if name != "" {
			c := ca.client(t, x509.Certificate{Subject: pkix.Name{CommonName: name}})
			e.TLS = EndpointTLS{Certificate: c.pem(), Key: c.keyPEM(t)}
		}
		ids = append(ids, register(t, d.View, e).ID)
	}
	stop := start(t, d)
	for range 3 {
		publish(t, d, Event{})
		for range ids {
			arrival(t, delivered)
		}
	}
	shown, opened := r.seen()
	if count := counts(shown); opened != 3 || count["one"] != 3 || count["two"] != 3 || count[""] != 3 {
		t.Fatalf("%d connections, on which were shown %v", opened, shown)
	}

	e, err := d.Endpoint(t.Context(), ids[0])
	if err != nil {
		t.Fatal(err)
	}
	c := ca.client(t, x509.Certificate{Subject: pkix.Name{CommonName: "three"}})
	e.TLS.Certificate, e.TLS.Key = c.pem(), c.keyPEM(t)
	if _, err := d.Update(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	publish(t, d, Event{})
	for range ids {
		arrival(t, delivered)
	}
	arrival(t, r.closed) // the one that showed the old certificate
	shown, opened = r.seen()
	if count := counts(shown); opened != 4 || count["three"] != 1 || count["one"] != 3 || count["two"] != 4 {
		t.Errorf("%d connections, on which were shown %v", opened, shown)
	}
	select {
	case <-r.closed:
		t.Error("another connection was closed")
	default:
	}
	stop()
	for range 3 {
		arrival(t, r.closed)
	}
}

func counts(names []string) map[string]int {
	n := make(map[string]int)
	for _, name := range names {
		n[name]++
	}
	return n
}
