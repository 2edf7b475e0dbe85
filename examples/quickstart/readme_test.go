package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What a reader copies first must compile.
func TestProgramsOfTheDocumentationCompile(t *testing.T) {
	readme := read(t, "../../README.md")
	blocks := regexp.MustCompile("(?ms)^```go\n(.*?)^```").FindAllStringSubmatch(readme, -1)
	if len(blocks) != 2 {
		t.Fatalf("README.md has %d blocks of Go, want a program and what to add to it on loopback", len(blocks))
	}
	program, loopback := blocks[0][1], blocks[1][1]
	compile(t, "README.md", program)

	const field, first = "\t\tLogger:", "import (\n"
	if strings.Count(program, field) != 1 || strings.Count(program, first) != 1 {
		t.Fatal("README.md: its program has no Config with a Logger")
	}
	compile(t, "README.md on loopback", strings.NewReplacer(field, loopback+field, first, first+"\t\"net/netip\"\n").Replace(program))

	document, _, ok := strings.Cut(read(t, "../../webhook.go"), "//\n// # ")
	_, document, found := strings.Cut(document, "//\tpackage main\n")
	if !ok || !found {
		t.Fatal("the package documentation has no program")
	}
	compile(t, "the package documentation", "package main\n"+regexp.MustCompile(`(?m)^//\t?`).ReplaceAllString(document, ""))
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func compile(t *testing.T, name, program string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(program), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "vet", file).CombinedOutput(); err != nil {
		t.Errorf("the program of %s: %v\n%s", name, err, out)
	}
}
