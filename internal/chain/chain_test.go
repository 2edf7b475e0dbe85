package chain

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func link(value string) *Link[string] { return &Link[string]{Value: value} }

func TestOnlyTheFirstOfAKeyMayGoOn(t *testing.T) {
	var c Chains[string, string]
	a, b, other := link("a"), link("b"), link("other")
	if !c.Add("k", a) || c.Add("k", b) || !c.Add("l", other) {
		t.Error("the first of a key is not the only one that goes on")
	}
	if next, ok := c.Remove("k", a); !ok || next != "b" {
		t.Errorf("after a came %q, %v", next, ok)
	}
	if next, ok := c.Remove("k", a); ok {
		t.Errorf("after what was removed already came %q", next)
	}
	if next, ok := c.Remove("k", b); ok {
		t.Errorf("after the last came %q", next)
	}
	if len(c.ends) != 1 {
		t.Errorf("%d chains are left", len(c.ends))
	}
	if !c.Add("k", a) {
		t.Error("what was removed is in the way")
	}
}

func TestWhatIsInNoChainIsNotRemoved(t *testing.T) {
	var c Chains[string, string]
	c.Add("k", link("a"))
	if _, ok := c.Remove("k", link("b")); ok || len(c.ends) != 1 {
		t.Error("another was removed")
	}
}

func TestAnOrderHoldsInALongRandomRun(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var c Chains[int, string]
	want := make(map[int][]*Link[string])
	for n := range 20_000 {
		key := random.IntN(5)
		links := want[key]
		if random.IntN(10) < 5 || len(links) == 0 {
			l := link(string(rune('a' + n%26)))
			if first := c.Add(key, l); first != (len(links) == 0) {
				t.Fatalf("step %d: first is %v", n, first)
			}
			want[key] = append(links, l)
			continue
		}
		at := random.IntN(len(links))
		next, ok := c.Remove(key, links[at])
		if ok != (at == 0 && len(links) > 1) || ok && next != links[1].Value {
			t.Fatalf("step %d: after %d of %d came %q, %v", n, at, len(links), next, ok)
		}
		if links = slices.Delete(links, at, at+1); len(links) > 0 {
			var behind []string
			for _, l := range links[1:] {
				behind = append(behind, l.Value)
			}
			if got := slices.Collect(links[0].Behind()); !slices.Equal(got, behind) {
				t.Fatalf("step %d: behind is %q, want %q", n, got, behind)
			}
		}
		want[key] = links
	}
}
