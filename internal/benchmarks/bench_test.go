package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outhook/webhook"
)

func TestMain(m *testing.M) {
	if isReceiver() {
		receive()
		return
	}
	os.Exit(m.Run())
}

func TestEveryScenarioPrintsItsTable(t *testing.T) {
	s := size{
		rounds: 1, deliveries: 130, queued: 20, stuck: 20, backlog: 130, pending: [2]int{200, 400}, endpoints: 20,
		mixed: 100, samples: 100, flood: 10_000, flooding: 300 * time.Millisecond, wide: 20, soaking: 20 * time.Millisecond,
		publishing: 50 * time.Millisecond, idling: 50 * time.Millisecond, woken: 5, finished: 2000, waiting: 400, logged: 1000, churn: time.Millisecond,
		cpuProfile: t.TempDir() + "/cpu",
	}
	var out bytes.Buffer
	if _, err := measureAll(t.Context(), s, scenarios, &out, reportTo{}); err != nil {
		t.Fatal(err)
	}
	wants := []string{
		"\ndelivery ", "Outhook / net/http ", "Outhook, 64 endpoints / net/http ", "Outhook above net/http ",
		"\nisolation ", "memory: beside one that is stuck / alone ", "SQLite: beside one that is stuck / alone ",
		"\nmemory ", "200 pending: claim and settle ", "200 pending: beside the data ", "400 / 200 pending ",
		"\ndurable ", "Outhook on SQLite / net/http ", "Outhook on SQLite, 64 endpoints / net/http ",
		"\ngroup ", "SQLite: together / alone ",
		"\nmix ", "memory: mixed / all healthy, p99 of ", "SQLite: mixed / all healthy, p99 of ",
		"\nflood ", "memory: single events, p99 from Publish of 3 ", "SQLite: single events, p99 from Publish of 3 ",
		"\nsoak ", "memory: live heap, last tenth / third ", "SQLite: goroutines, last tenth / third ",
		"\nidle ", "SQLite: idle ", "SQLite: from Publish to the request",
	}
	if !strings.Contains(out.String(), "\nPostgreSQL is not installed") {
		wants = append(wants, "PostgreSQL: beside one that is stuck / alone ",
			"Outhook on PostgreSQL / River ", "Outhook on PostgreSQL / River, attempts logged ", "Outhook on PostgreSQL, 64 endpoints / River, attempts logged ",
			"PostgreSQL: together / alone ", "PostgreSQL: idle ", "PostgreSQL: from Publish to the request",
			"PostgreSQL with pgwake: p99 from Publish to the request of 5 ",
			"PostgreSQL: mixed / all healthy, p99 of ", "PostgreSQL: single events, p99 from Publish of 3 ",
			"\nportal ", "calls, failed, p95 ",
			"\nsize ", "full / empty ", "after / before ",
		)
	}
	if runtime.GOOS == "linux" {
		wants = append(wants, "\nwide ", "memory: delivered to 20 endpoints ", "SQLite: file descriptors, at most ")
	}
	for _, want := range wants {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
	if info, err := os.Stat(s.cpuProfile); err != nil || info.Size() == 0 {
		t.Errorf("no CPU profile was written: %v", err)
	}
}

func TestTheBareLoopsSignAsOuthookDoes(t *testing.T) {
	secret := webhook.NewSecret()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret.Value, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	var verified atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || len(body) != bodySize {
			t.Errorf("body of %d bytes, %v", len(body), err)
		}
		if err := (webhook.StandardWebhooks{}).Verify(r.Header, body, []webhook.Secret{secret}, time.Now()); err != nil {
			t.Error(err)
		}
		verified.Add(1)
	}))
	defer server.Close()
	r := &request{server.URL, "message", bodyOf(benchmarkEvent()), key}
	for _, post := range []poster{postWithClient, new(recorder).post} {
		if err := post(t.Context(), server.Client(), r); err != nil {
			t.Error(err)
		}
	}
	if verified.Load() != 2 {
		t.Errorf("%d requests came, want 2", verified.Load())
	}
}

func TestAFailureOfTheReceiverFailsTheRound(t *testing.T) {
	r, err := startReceiver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	elsewhere := *r
	elsewhere.url += "/nowhere"
	for _, c := range []contender{bareLoop("loop", func() poster { return postWithClient })} {
		if s, err := c.measure(t.Context(), &elsewhere, 3); err == nil {
			t.Errorf("%s: measured %+v", c.name, s)
		}
	}
}

func TestARepeatedMessageFailsTheRound(t *testing.T) {
	r, err := startReceiver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	repeating := bareLoop("repeating", func() poster {
		return func(ctx context.Context, client *http.Client, r *request) error {
			r.id = "message"
			return postWithClient(ctx, client, r)
		}
	})
	if s, err := repeating.measure(t.Context(), r, 3); err == nil {
		t.Errorf("measured %+v", s)
	}
}

func TestAMissedBoundIsAFailure(t *testing.T) {
	for _, test := range []struct {
		b    bound
		v    float64
		want bool
	}{
		{bound{}, 1, true},
		{bound{atLeast, 0.8}, 0.8, true},
		{bound{atLeast, 0.8}, 0.79, false},
		{bound{atMost, 40}, 40, true},
		{bound{atMost, 40}, 40.1, false},
	} {
		t.Run(fmt.Sprintf("%v of %v", test.b, test.v), func(t *testing.T) {
			if got := test.b.met(test.v); got != test.want {
				t.Errorf("met: %v, want %v", got, test.want)
			}
			var out bytes.Buffer
			impossible := scenario{"named", func(context.Context, size, *databases) ([]figure, error) {
				return []figure{{name: "figure", rounds: []float64{test.v + 100, test.v, test.v - 100}, bound: test.b}}, nil
			}}
			met, err := measureAll(t.Context(), size{}, []scenario{impossible}, &out, reportTo{})
			if err != nil || met != test.want || strings.Contains(out.String(), "FAIL") == test.want {
				t.Errorf("met: %v, %v, want %v:\n%s", met, err, test.want, &out)
			}
		})
	}
}

func TestTheMedianIsTheMiddle(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{3}, 3},
		{[]float64{9, 1, 2}, 2},
		{[]float64{9, 1, 2, 3}, 2.5},
	} {
		if got := median(test.values); got != test.want {
			t.Errorf("median of %v: %v, want %v", test.values, got, test.want)
		}
	}
}

func BenchmarkDelivery(b *testing.B) {
	for _, c := range []contender{
		outhook(inMemory, 1, 2*inFlight, inFlight), outhook(inMemory, 64, 2*inFlight, 16),
		bareLoop("net/http", func() poster { return postWithClient }),
		bareLoop("RoundTrip, recording", func() poster { return new(recorder).post }),
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			r, err := startReceiver(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			defer r.close()
			s, err := c.measure(b.Context(), r, b.N)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(s.elapsed)/float64(b.N), "ns/op")
			b.ReportMetric(float64(s.cpu), "cpu-ns/op")
			b.ReportMetric(s.allocs, "allocs/op")
			b.ReportMetric(s.bytes, "B/op")
		})
	}
}

func BenchmarkMemoryStore(b *testing.B) {
	for _, pending := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprint(pending), func(b *testing.B) {
			s, err := newFilledStore(b.Context(), webhook.NewMemoryStore(), 10_000)
			if err != nil {
				b.Fatal(err)
			}
			if err := s.fill(b.Context(), pending); err != nil {
				b.Fatal(err)
			}
			var took float64
			for n := b.N; n > 0; n -= 20_000 {
				part := min(n, 20_000)
				perDelivery, _, err := s.drain(b.Context(), part)
				if err != nil {
					b.Fatal(err)
				}
				took += perDelivery * float64(part)
			}
			b.ReportMetric(took/float64(b.N), "ns/op")
		})
	}
}
