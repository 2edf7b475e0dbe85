package oauth2_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/oauth2"
)

func Example() {
	ctx := context.Background()
	// The customer's authorization server, and the receiver of the webhooks.
	tokens := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if id, secret, _ := r.BasicAuth(); id != "product" || secret != "s3cr3t" || r.FormValue("grant_type") != "client_credentials" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"access_token":"2YotnFZFEjr1zCsicMWpAA","token_type":"Bearer","expires_in":3600}`)
	}))
	defer tokens.Close()
	receiver := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Header.Get("Authorization"))
	}))
	defer receiver.Close()

	// The application. With public receivers, Config needs no Network.
	roots := x509.NewCertPool()
	roots.AddCert(receiver.Certificate())
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{
		Authorizer: new(oauth2.ClientCredentials),
		Network: webhook.Network{
			Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")},
			TLS:   &tls.Config{RootCAs: roots},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	e, err := d.Register(ctx, webhook.Endpoint{
		URL:  receiver.URL,
		Auth: webhook.OAuth2(tokens.URL, "product", "s3cr3t", "hooks:write"),
	})
	if err != nil {
		log.Fatal(err)
	}
	attempt, err := d.SendTest(ctx, e.ID, "ping")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(attempt.StatusCode, "in the log:", attempt.RequestHeaders.Get("Authorization"))
	// Output:
	// Bearer 2YotnFZFEjr1zCsicMWpAA
	// 200 in the log: [redacted]
}
