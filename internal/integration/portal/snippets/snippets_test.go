// Package snippets runs the code that the portal shows to receivers: in Go, Node
// and Python, it must accept what the library sends, and nothing else.
package snippets

import (
	"context"
	"fmt"
	"html"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/outhook/webhook"
	"github.com/outhook/webhook/portal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// languages are those of the samples: the file to write, and what runs it.
var languages = map[string]struct {
	file string
	run  []string
}{
	"go":     {"main.go", []string{"go", "run", "main.go"}},
	"node":   {"main.mjs", []string{"node", "main.mjs"}},
	"python": {"main.py", []string{"python3", "main.py"}},
}

func TestSamplesVerifyWhatIsSent(t *testing.T) {
	for name, signer := range map[string]webhook.Signer{
		"standard": webhook.StandardWebhooks{}, "svix": webhook.Svix(),
		"hex": webhook.HMAC{Header: "X-Docutray-Signature", Prefix: "sha256="}, "base64": webhook.HMAC{Header: "X-Sig", Encoding: webhook.Base64},
		"secret": webhook.SecretHeader{Name: "X-Documenso-Secret"},
	} {
		for language := range languages {
			t.Run(name+" in "+language, func(t *testing.T) { check(t, signer, language) })
		}
	}
}

func check(t *testing.T, signer webhook.Signer, language string) {
	ctx := t.Context()
	d, err := webhook.NewDispatcher(webhook.NewMemoryStore(), webhook.Config{
		Profile: webhook.Profile{Signer: signer},
		Network: webhook.Network{AllowHTTP: true, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	e, err := d.Register(ctx, webhook.Endpoint{URL: fmt.Sprintf("http://127.0.0.1:%d/webhooks", port)})
	if err != nil {
		t.Fatal(err)
	}
	code := strings.ReplaceAll(sample(t, d, e.ID, language), "8080", fmt.Sprint(port))
	start(t, language, code, e.Secrets[0].Value, port)
	if a := send(ctx, t, d, e.ID); a.StatusCode != http.StatusNoContent {
		t.Errorf("what was sent is answered with %d, %s", a.StatusCode, a.Error)
	}
	if _, err := d.RotateSecret(ctx, e.ID, webhook.Secret{}, 0); err != nil {
		t.Fatal(err)
	}
	if a := send(ctx, t, d, e.ID); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("what another secret has signed is answered with %d, %s", a.StatusCode, a.Error)
	}
	response, err := http.Post(e.URL, "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("what nobody has signed is answered with %d", response.StatusCode)
	}
}

func send(ctx context.Context, t *testing.T, d *webhook.Dispatcher, id string) webhook.Attempt {
	t.Helper()
	a, err := d.SendTest(ctx, id, "document.signed")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// sample returns the code as a reader of the page copies it.
func sample(t *testing.T, d *webhook.Dispatcher, id, language string) string {
	t.Helper()
	handler, err := portal.New(d, portal.Options{
		SingleTenant: true, Access: func(*http.Request) (portal.Access, error) { return portal.Access{}, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/endpoints/"+id+"/verify", nil))
	m := regexp.MustCompile(`(?s)<pre[^>]* id="code-0-` + language + `">(.*?)</pre>`).FindStringSubmatch(w.Body.String())
	if m == nil {
		t.Fatalf("status %d, and no code in\n%s", w.Code, w.Body)
	}
	return html.UnescapeString(m[1])
}

// start runs the code until the test ends, and returns once it listens.
func start(t *testing.T, language, code, secret string, port int) {
	t.Helper()
	l := languages[language]
	program, err := exec.LookPath(l.run[0])
	if err != nil {
		if os.Getenv("OUTHOOK_REQUIRE") != "" {
			t.Fatal(err)
		}
		t.Skipf("there is no %s here", l.run[0])
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, l.file), []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	var output strings.Builder
	command := exec.Command(program, l.run[1:]...)
	command.Dir, command.Stdout, command.Stderr = dir, &output, &output
	command.Env = append(os.Environ(), "WEBHOOK_SECRET="+secret, "GOWORK=off")
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // "go run" has a child
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = command.Wait() }()
	t.Cleanup(func() {
		_ = syscall.Kill(-command.Process.Pid, syscall.SIGKILL)
		<-ended
		if t.Failed() {
			t.Logf("%s\n%s", code, output.String())
		}
	})
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = c.Close()
			tick.Stop()
			return
		}
		select {
		case <-tick.C:
		case <-ended:
			t.Fatalf("the code has ended: %s", output.String())
		}
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
