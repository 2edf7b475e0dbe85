package storetest

import (
	"time"

	"github.com/outhook/webhook"
)

func presenceChecks() []check {
	return []check{
		{"presence", "dispatchers are counted until they end", presence},
		{"presence-time", "a dispatcher whose time is over is not counted", presenceTime},
	}
}

// attend wants so many dispatchers to be there.
func (t *trial) attend(p webhook.Presence, dispatcher string, ttl time.Duration, want int) {
	t.Helper()
	if n, err := p.Attend(t.ctx, dispatcher, ttl); err != nil || n != want {
		t.Errorf("Attend(%q, %v) is %d, error %v, want %d", dispatcher, ttl, n, err, want)
	}
}

func presence(t *trial) {
	p := need[webhook.Presence](t, "Presence")
	t.attend(p, "a", long, 1)
	t.attend(p, "b", long, 2)
	t.attend(p, "a", long, 2)
	t.attend(p, "a", 0, 1)
	t.attend(p, "c", long, 2)
	t.attend(p, "a", 0, 2)
}

func presenceTime(t *trial) {
	p := need[webhook.Presence](t, "Presence")
	t.attend(p, "prolonged", short, 1)
	t.attend(p, "prolonged", 3*long, 1)
	t.attend(p, "short", short, 2)
	t.pass(short)
	if !t.eventually(func() bool {
		n, err := p.Attend(t.ctx, "other", long)
		return err == nil && n == 2
	}) {
		t.Errorf("the one whose time is over is still counted")
	}
}
