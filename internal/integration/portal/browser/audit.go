package browser

import (
	"embed"
	"encoding/json"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/outhook/webhook/internal/integration/npm"
)

//go:embed package.json package-lock.json
var files embed.FS

// auditor returns the source of axe-core.
var auditor = sync.OnceValues(func() (string, error) {
	directory, err := npm.Install("outhook-audit", files)
	if err != nil {
		return "", err
	}
	source, err := os.ReadFile(filepath.Join(directory, "node_modules/axe-core/axe.min.js"))
	return string(source), err
})

// NeedAudit skips a test that audits where axe-core is missing, or fails it if
// OUTHOOK_REQUIRE is not empty.
func NeedAudit(t testing.TB) {
	t.Helper()
	if _, err := auditor(); err != nil {
		if os.Getenv("OUTHOOK_REQUIRE") != "" {
			t.Fatalf("no axe-core: %v", err)
		}
		t.Skipf("no axe-core: %v", err)
	}
}

// Audit checks the page with axe-core, all of its rules, and reports each
// violation as an error.
func (p *Page) Audit() {
	p.Helper()
	for _, violation := range p.Violations() {
		p.Errorf("axe: %s", violation)
	}
}

// Violations returns what axe-core has against the page, by some of its rules or,
// if none is named, by all.
func (p *Page) Violations(rules ...string) (found []string) {
	p.Helper()
	source, err := auditor()
	if err != nil {
		p.Fatalf("no axe-core: %v", err)
	}
	// What fades when the look changes is judged as it will be, however slow the
	// machine is.
	p.Evaluate(source + "; document.getAnimations().forEach(a => a.cancel()); null")
	options, err := json.Marshal(map[string]any{"resultTypes": []string{"violations"}, "runOnly": map[string]any{"type": "rule", "values": rules}})
	if len(rules) == 0 {
		options, err = []byte(`{"resultTypes": ["violations"]}`), nil
	}
	if err != nil {
		p.Fatal(err)
	}
	text := p.Evaluate(`axe.run(` + string(options) + `).then(r => r.violations.map(v =>
		location.pathname + ': ' + v.id + ' (' + v.impact + '): ' + v.help + v.nodes.map(n => '\n\t' + n.html.slice(0, 200) + ' ' + n.failureSummary.replace(/\s+/g, ' ')).join('')))`)
	if err := json.Unmarshal([]byte(text), &found); err != nil {
		p.Fatalf("axe-core answered %.200s: %v", text, err)
	}
	return found
}
