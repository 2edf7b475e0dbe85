package webhook

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// unsummarized hides what a store offers beside the contract.
type unsummarized struct{ Store }

func TestStatisticsOfAStoreThatCannotSummarize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemoryStore()
		counted, err := NewDispatcher(store, Config{})
		if err != nil {
			t.Fatal(err)
		}
		listed, err := NewDispatcher(unsummarized{store}, Config{})
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"one", "other"} {
			if _, err := counted.Register(t.Context(), Endpoint{ID: id, Tenant: id, URL: "https://example.com/"}); err != nil {
				t.Fatal(err)
			}
		}
		publish := func(n int) {
			for i := range n {
				if _, err := counted.Publish(t.Context(), Event{Type: "x", Tenant: []string{"one", "one", "other"}[i%3]}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
			}
		}
		publish(90)
		for _, buckets := range []int{0, 1, 3} {
			f := StatisticsFilter{Endpoints: []string{"one", "other", "none"}, Buckets: buckets}
			for _, tenant := range []string{"one", "other", ""} {
				want, err1 := counted.Tenant(tenant).Statistics(t.Context(), f)
				got, err2 := listed.Tenant(tenant).Statistics(t.Context(), f)
				if err1 != nil || err2 != nil || !slices.Equal(got, want) {
					t.Errorf("%q in %d parts: %+v (%v), want %+v (%v)", tenant, buckets, got, err2, want, err1)
				}
				sum := 0
				for _, s := range want {
					sum += s.Pending
				}
				if sum != map[string]int{"one": 60, "other": 30}[tenant] {
					t.Errorf("%q sees %d deliveries", tenant, sum)
				}
			}
		}
		publish(4500) // one in three of which is the other one's
		got, err := listed.Statistics(t.Context(), StatisticsFilter{Endpoints: []string{"one"}, From: time.Now().Add(-4500 * time.Second)})
		if err != nil || !got[0].Estimated || got[0].Created < 2900 || got[0].Created > 3100 {
			t.Errorf("3,000 deliveries are taken for %+v, %v", got, err)
		}
	})
}

func TestStatisticsRefuseWrongFilters(t *testing.T) {
	d, err := NewDispatcher(NewMemoryStore(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	many := make([]string, 501)
	for n := range many {
		many[n] = fmt.Sprint(n)
	}
	for name, f := range map[string]StatisticsFilter{
		"twice":             {Endpoints: []string{"a", "b", "a"}},
		"too many parts":    {Endpoints: []string{"a"}, Buckets: 1001},
		"too many in all":   {Endpoints: many, Buckets: 2},
		"less than no part": {Endpoints: []string{"a"}, Buckets: -1},
		"no time":           {Endpoints: []string{"a"}, From: now, To: now},
		"backwards":         {Endpoints: []string{"a"}, From: now, To: now.Add(-time.Hour)},
		"too little time":   {Endpoints: []string{"a"}, From: now.Add(-time.Microsecond), To: now, Buckets: 3},
		"a far year":        {Endpoints: []string{"a"}, To: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)},
		"centuries":         {Endpoints: []string{"a"}, From: time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).Add(1)},
	} {
		if got, err := d.Statistics(t.Context(), f); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if got, err := d.Statistics(t.Context(), StatisticsFilter{}); err != nil || len(got) > 0 {
		t.Errorf("of no endpoint: %v, %v", got, err)
	}
	if _, err := d.Tenant("*").Statistics(t.Context(), StatisticsFilter{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("of a malformed tenant: %v", err)
	}
}

func TestProfilesAreShownAsTheyAreUsed(t *testing.T) {
	d, err := NewDispatcher(NewMemoryStore(), Config{Profile: Profile{UserAgent: "App/1"}, Profiles: map[string]Profile{"b": {Signer: SecretHeader{Name: "X-Token"}}, "a": {}}})
	if err != nil {
		t.Fatal(err)
	}
	v := d.Tenant("acme")
	if got := v.Profiles(); !slices.Equal(got, []string{"", "a", "b"}) {
		t.Errorf("profiles %q", got)
	}
	if p, ok := v.Profile("b"); !ok || p.UserAgent != "App/1" || p.ContentType != "application/json" || p.Signer != (SecretHeader{Name: "X-Token"}) {
		t.Errorf("%+v, %v", p, ok)
	}
	if _, ok := v.Profile("c"); ok {
		t.Error("there is a profile that there is not")
	}
	if got := v.Capabilities(); got != (Capabilities{Ordered: true}) {
		t.Errorf("%+v", got)
	}
	if d, err = NewDispatcher(unsummarized{NewMemoryStore()}, Config{}); err != nil || d.Capabilities().Ordered {
		t.Errorf("a store that cannot order: %+v, %v", d.Capabilities(), err)
	}
}

// What was created before the time in question is not read, unless a clock that went
// back may have put what counts behind it.
func TestStatisticsOfAMemoryStoreReadWhatIsNew(t *testing.T) {
	store, start := NewMemoryStore(), time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	d, err := NewDispatcher(store, Config{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Register(t.Context(), Endpoint{ID: "one", URL: "https://example.com/"}); err != nil {
		t.Fatal(err)
	}
	publish := func(minutes ...int) {
		t.Helper()
		for _, m := range minutes {
			store.SetClock(func() time.Time { return start.Add(time.Duration(m) * time.Minute) })
			if _, err := d.Publish(t.Context(), Event{Type: "x"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	since := func(minute, want int) {
		t.Helper()
		f := StatisticsFilter{Endpoints: []string{"one"}, From: start.Add(time.Duration(minute) * time.Minute), To: start.Add(time.Hour)}
		if got, err := d.Statistics(t.Context(), f); err != nil || got[0].Created != want {
			t.Errorf("since minute %d: %+v, %v; want %d", minute, got, err, want)
		}
	}
	publish(0, 1, 2, 2, 3, 4)
	since(2, 4)
	since(0, 6)
	oldest := store.log[0]
	store.log[0] = nil // whoever reads it panics
	since(2, 4)
	store.log[0] = oldest
	publish(1, 0, 5)
	since(2, 5)
	since(1, 7)
	since(0, 9)
}
