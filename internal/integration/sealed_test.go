package integration

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/sqlstore"
)

// marks are the secrets of the endpoints below: none may be in the database, in
// no encoding.
type marks map[string]string // value by name

// in returns the names of the marks that are in a dump.
func (m marks) in(dump string) (names []string) {
	for name, value := range m {
		inJSON, err := json.Marshal(value)
		if err != nil {
			panic(err)
		}
		forms := []string{value, strings.Trim(string(inJSON), `"`), url.QueryEscape(value), hex.EncodeToString([]byte(value)), strings.ToUpper(hex.EncodeToString([]byte(value)))}
		for offset := range 3 {
			whole := value[offset : offset+(len(value)-offset)/3*3]
			forms = append(forms, base64.StdEncoding.EncodeToString([]byte(whole)), base64.URLEncoding.EncodeToString([]byte(whole)))
		}
		for _, form := range forms {
			if strings.Contains(dump, form) {
				names = append(names, name)
				break
			}
		}
	}
	return names
}

// dump returns what every column of every table holds, each value as it is and as
// it is printed.
func dump(t *testing.T, db *sql.DB, dialect sqlstore.Dialect) string {
	t.Helper()
	query := "SELECT name FROM sqlite_master WHERE type = 'table'"
	if dialect == sqlstore.PostgreSQL {
		query = "SELECT quote_ident(table_schema) || '.' || quote_ident(table_name) FROM information_schema.tables WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
	}
	a := &app{db: db}
	tables := a.column(t, query)
	if len(tables) < 8 {
		t.Fatalf("there are only the tables %q", tables)
	}
	var out strings.Builder
	for _, table := range tables {
		rows, err := db.QueryContext(t.Context(), "SELECT * FROM "+table)
		if err != nil {
			t.Fatal(err)
		}
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			values, into := make([]any, len(columns)), make([]any, len(columns))
			for n := range values {
				into[n] = &values[n]
			}
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			for n, v := range values {
				fmt.Fprintf(&out, "%s.%s: %s %v\n", table, columns[n], v, v)
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		_ = rows.Close()
	}
	return out.String()
}

// files returns the bytes of an SQLite database and its log, or what pg_dump
// writes, where there is one.
func files(t *testing.T, b backend, dsn string) string {
	t.Helper()
	if b.dialect == sqlstore.SQLite {
		name, _, _ := strings.Cut(strings.TrimPrefix(dsn, "file:"), "?")
		var out strings.Builder
		found, err := filepath.Glob(name + "*")
		if err != nil || len(found) == 0 {
			t.Fatalf("the files %q, %v", found, err)
		}
		for _, name := range found {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			out.Write(text)
		}
		return out.String()
	}
	program, err := exec.LookPath("pg_dump")
	if err != nil || b.name != "pgx" {
		return ""
	}
	text, err := exec.CommandContext(t.Context(), program, "--dbname", dsn).CombinedOutput()
	if err != nil || !strings.Contains(string(text), "outhook_endpoints") {
		t.Fatalf("pg_dump: %v: %s", err, text)
	}
	return string(text)
}

// masterKey returns keys of that ID, an older one being "old".
func masterKeys(t *testing.T, ids ...string) webhook.Keys {
	t.Helper()
	var keys []webhook.Key
	for _, id := range ids {
		raw := make([]byte, 32)
		copy(raw, "the master key "+id)
		keys = append(keys, webhook.Key{ID: id, Secret: webhook.Secret{Value: base64.StdEncoding.EncodeToString(raw)}})
	}
	k, err := webhook.NewKeys(keys[0], keys[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// certificate makes a client's certificate and its key, in PEM and as bytes.
func certificate(t *testing.T) (pemOf, keyOf string, bytes []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sender"}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if bytes, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		t.Fatal(err)
	}
	in := func(name string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: name, Bytes: b}))
	}
	return in("CERTIFICATE", der), in("PRIVATE KEY", bytes), bytes
}

// authorizer gets a token from the test's receiver, which shows that it was asked
// with the secret.
func authorizer(token string) webhook.Authorizer {
	return webhook.AuthorizerFunc(func(ctx context.Context, client *http.Client, a webhook.Auth) (string, time.Time, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.TokenURL, nil)
		if err != nil {
			return "", time.Time{}, err
		}
		r.SetBasicAuth(a.Name, a.Secret.Value)
		res, err := client.Do(r)
		if err != nil {
			return "", time.Time{}, err
		}
		if got, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(got), base64.StdEncoding.EncodeToString([]byte(a.Name+":"+a.Secret.Value))) {
			return "", time.Time{}, errors.New("it was asked otherwise")
		}
		return "Bearer " + token, time.Now().Add(time.Minute), nil
	})
}

// With Config.Keys, the database holds no secret, whatever was done: also in the
// log of attempts at a receiver that repeats what it is sent. Without, it does, and
// what was stored so is sealed by a call.
func TestADumpHoldsNoSecret(t *testing.T) {
	forEach(t, []backend{postgreSQL()[0], postgreSQL()[1], sqlite()[0], sqlite()[1]}, func(t *testing.T, b backend) {
		const token = "m4rk-access-token+/0123456789"
		var authorized, secured atomic.Int64
		handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if strings.HasPrefix(r.URL.Path, "/fails") {
				w.WriteHeader(http.StatusInternalServerError)
			}
			if r.Header.Get("Authorization") == "Bearer "+token {
				authorized.Add(1)
			}
			if r.TLS != nil && len(r.TLS.PeerCertificates) == 1 {
				secured.Add(1)
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"headers": r.Header, "url": r.URL.String()})
		})
		echo, private := httptest.NewServer(handler), httptest.NewUnstartedServer(handler)
		defer echo.Close()
		private.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
		private.StartTLS()
		defer private.Close()
		roots := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: private.Certificate().Raw}))
		dsn := b.database(t)
		store := b.store(t, dsn)
		dispatcher := func(k webhook.Keys) *webhook.Dispatcher {
			d, err := webhook.NewDispatcher(store, webhook.Config{
				Keys: k, Authorizer: authorizer(token),
				Profile:  webhook.Profile{Retry: webhook.Schedule(10*time.Millisecond, 10*time.Millisecond)},
				Profiles: map[string]webhook.Profile{"token": {Signer: webhook.SecretHeader{Name: "X-Token"}}},
				Network:  webhook.Network{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
			})
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		register := func(d *webhook.Dispatcher, round string, m marks) (ids []string) {
			t.Helper()
			certificate, key, raw := certificate(t)
			m["an access token"], m[round+" a client's key in PEM"], m[round+" a client's raw key"] = token, key, string(raw)
			for n, e := range []webhook.Endpoint{
				{URL: "/ok", Secrets: []webhook.Secret{webhook.NewSecret()}, Auth: webhook.BasicAuth("user", "m4rk password+/= "+round)},
				{URL: "/fails", Secrets: []webhook.Secret{webhook.NewSigningKey()}, Auth: webhook.BearerToken("m4rk-token+/=" + round)},
				{URL: "/fails/too", Profile: "token", Secrets: []webhook.Secret{{Value: `m4rk "secret" header ` + round}}, Auth: webhook.APIKey("X-Key", `m4rk "key" `+round)},
				{URL: "/ok/token", Secrets: []webhook.Secret{webhook.NewSecret()}, Auth: webhook.OAuth2(echo.URL+"/token", "id", "m4rk-client-secret-"+round)},
				{URL: "/ok/private", Secrets: []webhook.Secret{webhook.NewSecret()}, Auth: webhook.BearerToken("m4rk-private-token+/=" + round),
					TLS: webhook.EndpointTLS{RootCAs: roots, Certificate: certificate, Key: webhook.Secret{Value: key}}},
			} {
				name := fmt.Sprintf("%s %d: ", round, n)
				m[name+"query"] = "m4rk-query-0123456789-" + name[:len(name)-2]
				m[name+"header"] = "m4rk header 0123456789 " + name[:len(name)-2]
				m[name+"description"] = "m4rk description " + name[:len(name)-2]
				m[name+"secret"], m[name+"credential"] = e.Secrets[0].Value, e.Auth.Secret.Value
				if _, encoded, ok := strings.Cut(e.Secrets[0].Value, "_"); ok {
					raw, err := base64.StdEncoding.DecodeString(encoded)
					if err != nil {
						t.Fatal(err)
					}
					m[name+"raw key"] = string(raw)
				}
				host := echo.URL
				if e.TLS.RootCAs != "" {
					host = private.URL
				}
				e.URL = host + e.URL + "?key=" + url.QueryEscape(m[name+"query"])
				e.Headers, e.Description = map[string]string{"X-Own": m[name+"header"]}, m[name+"description"]
				got, err := d.Register(t.Context(), e)
				if err != nil {
					t.Fatal(err)
				}
				ids = append(ids, got.ID)
			}
			return ids
		}
		use := func(d *webhook.Dispatcher, ids []string, m marks) {
			t.Helper()
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error)
			go func() { done <- d.Run(ctx) }()
			defer func() {
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			}()
			for n := range 3 {
				r, err := d.Publish(t.Context(), webhook.Event{Type: "test", Data: n})
				if err != nil {
					t.Fatal(err)
				}
				eventually(t, "all deliveries have ended", func() bool {
					page, err := d.Deliveries(t.Context(), webhook.DeliveryFilter{EventID: r.EventID, States: []webhook.State{webhook.StatePending}})
					return err == nil && len(page.Items) == 0
				})
			}
			for n, id := range ids {
				if a, err := d.SendTest(t.Context(), id, "ping"); err != nil || a.StatusCode == 0 {
					t.Errorf("the test is %+v, %v", a, err)
				}
				next := webhook.Secret{Value: "whsec_" + base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "m4rk rotated secret %d %s", n, id[:8]))}
				m["rotated "+id] = next.Value
				if _, err := d.RotateSecret(t.Context(), id, next, 0); err != nil {
					t.Error(err)
				}
				if _, err := d.Reveal(t.Context(), id); err != nil {
					t.Error(err)
				}
			}
		}

		old := dispatcher(masterKeys(t, "old"))
		sealed := make(marks)
		ids := register(old, "sealed", sealed)
		use(old, ids, sealed)
		check := func(what string) {
			t.Helper()
			for how, text := range map[string]string{"the tables": dump(t, b.open(t, dsn), b.dialect), "the files": files(t, b, dsn)} {
				if found := sealed.in(text); len(found) > 0 {
					t.Errorf("%s: %s hold the marks %q", what, how, found)
				}
				if found := (marks{"a master key": "the master key old"}).in(text); len(found) > 0 || strings.Contains(text, "m4rk") {
					t.Errorf("%s: %s hold %q, or a part of another", what, how, found)
				}
			}
		}
		check("sealed from the beginning")

		// After a rotation of the master key.
		both := dispatcher(masterKeys(t, "new", "old"))
		if got, err := both.Reseal(t.Context()); err != nil || got != (webhook.Resealed{Sealed: 5}) {
			t.Errorf("Reseal returns %+v, %v", got, err)
		}
		last := dispatcher(masterKeys(t, "new"))
		for _, id := range ids {
			if got, err := last.Reveal(t.Context(), id); err != nil || len(got) != 1 || got[0].Value != sealed["rotated "+id] {
				t.Errorf("under the new key alone: %d secrets, %v", len(got), err)
			}
		}
		use(last, ids, sealed)
		check("after a rotation of the master key")

		// The search finds what is there; what was in clear is sealed by a call.
		clear, in := dispatcher(nil), make(marks)
		_ = register(clear, "clear", in)
		delete(in, "an access token") // nothing was sent yet
		found := in.in(dump(t, b.open(t, dsn), b.dialect))
		for name := range in {
			if !strings.Contains(name, "raw key") && !slices.Contains(found, name) { // those are in base64
				t.Errorf("in clear, %s is not found", name)
			}
		}
		if authorized.Load() == 0 || secured.Load() == 0 {
			t.Errorf("%d requests had a token, and %d a client certificate", authorized.Load(), secured.Load())
		}
		if got, err := last.Reseal(t.Context()); err != nil || got != (webhook.Resealed{Sealed: 5, Current: 5}) {
			t.Errorf("Reseal returns %+v, %v", got, err)
		}
		if found := in.in(dump(t, b.open(t, dsn), b.dialect)); len(found) > 0 {
			t.Errorf("after Reseal the marks %q are there", found)
		}
	})
}
