package webhook_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"time"

	"github.com/outhook/webhook"
)

// A customer with an authority of its own, who asks for a client certificate.
// What is PEM here comes from the customer's form, or from files.
func ExampleEndpointTLS() {
	ctx := context.Background()
	ca := newAuthority()
	certificate, key := ca.issue("our name with the customer", x509.ExtKeyUsageClientAuth)

	// The customer's server.
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println("received from", r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ca.server()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool()}
	server.StartTLS()
	defer server.Close()

	d := must(webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{Network: loopback}))
	e := must(d.Register(ctx, webhook.Endpoint{
		URL: server.URL,
		TLS: webhook.EndpointTLS{
			RootCAs:     ca.pem(),
			Certificate: certificate,
			Key:         webhook.Secret{Value: key},
		},
	}))
	a := must(d.SendTest(ctx, e.ID, "ping"))
	fmt.Println(a.StatusCode, a.Error == "")

	// The key is never read back, and stays when the rest is changed.
	e = must(d.Endpoint(ctx, e.ID))
	e.Description = "renewed in " + e.TLS.NotAfter.Format("January 2006")
	must(d.Update(ctx, e))
	a = must(d.SendTest(ctx, e.ID, "ping"))
	fmt.Println(a.StatusCode, e.TLS.Key.Value == "")
	// Output:
	// received from our name with the customer
	// 200 true
	// received from our name with the customer
	// 200 true
}

// Requests leave through a proxy, so that customers see its fixed address. While
// it is down, nothing counts against their endpoints.
func ExampleNetwork_proxy() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	c := newCustomer(showBody)
	defer c.Close()
	proxy := newProxy()
	defer proxy.Close()

	proxyURL := must(url.Parse(proxy.URL))
	proxyURL.User = url.UserPassword("outhook", "pa55word") // which reaches no log, notice or attempt
	network := loopback
	network.Proxy = http.ProxyURL(proxyURL)

	told := make(chan webhook.Notice, 1)
	d := must(webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{
		Network: network,
		Observer: webhook.ObserverFunc(func(_ context.Context, n webhook.Notice) {
			switch n := n.(type) {
			case webhook.ProxyFailed:
				told <- n // alert somebody
			case webhook.ProxyRecovered:
				told <- n
			}
		}),
	}))
	e := must(d.Register(ctx, webhook.Endpoint{URL: c.URL}))
	fmt.Println(must(d.SendTest(ctx, e.ID, "ping")).StatusCode)

	proxy.Close()
	for range 3 {
		fmt.Println(must(d.SendTest(ctx, e.ID, "ping")).Error)
	}
	_, failed := (<-told).(webhook.ProxyFailed)
	fmt.Println(failed, must(d.Endpoint(ctx, e.ID)).FailingSince.IsZero())
	// Output:
	// 200
	// not sent: the sender's own network failed
	// not sent: the sender's own network failed
	// not sent: the sender's own network failed
	// true true
}

// A tenant that is part of the company has receivers on its own network. Nobody
// else reaches that.
func ExampleConfig_networks() {
	ctx := context.Background()
	public := webhook.Network{Ports: []uint16{443}}
	internal := public // nothing is inherited: begin with a copy
	internal.Allow = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	d := must(webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{
		Network:  public,
		Networks: map[string]webhook.Network{"us": internal},
	}))
	for _, tenant := range []string{"us", "us/billing", "customer"} {
		_, err := d.Tenant(tenant).Register(ctx, webhook.Endpoint{URL: "https://10.1.2.3/webhooks"})
		fmt.Println(tenant, errors.Is(err, webhook.ErrBlockedAddress))
	}
	// Output:
	// us false
	// us/billing false
	// customer true
}

// newProxy starts an HTTP proxy that forwards requests.
func newProxy() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, _, _ := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth(); user != "outhook" {
			w.Header().Set("Proxy-Authenticate", "Basic")
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		r.RequestURI = ""
		res, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer func() { _ = res.Body.Close() }()
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body)
	}))
}

// exampleAuthority is a customer's authority.
type exampleAuthority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority() exampleAuthority {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Customer CA"}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
	return exampleAuthority{must(x509.ParseCertificate(der)), key}
}

func (a exampleAuthority) issue(name string, usage x509.ExtKeyUsage) (certificate, key string) {
	private := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{usage}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der := must(x509.CreateCertificate(rand.Reader, template, a.certificate, private.Public(), a.key))
	encode := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(private)))
}

func (a exampleAuthority) server() tls.Certificate {
	certificate, key := a.issue("receiver", x509.ExtKeyUsageServerAuth)
	return must(tls.X509KeyPair([]byte(certificate), []byte(key)))
}

func (a exampleAuthority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw}))
}

func (a exampleAuthority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}
