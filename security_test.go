package webhook

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A promise whose test is gone is none.
func TestSecurityNamesTestsThatExist(t *testing.T) {
	text, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	known := make(map[string]bool)
	definition := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err = filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, match := range definition.FindAllSubmatch(source, -1) {
			known[string(match[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := make(map[string]bool)
	for _, match := range regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllSubmatch(text, -1) {
		name := string(match[1])
		if named[name] = true; !known[name] {
			t.Errorf("SECURITY.md names %s, which does not exist", name)
		}
	}
	if len(named) < 50 {
		t.Errorf("SECURITY.md names %d tests: the pattern no longer finds them", len(named))
	}
	_, promises, _ := strings.Cut(string(text), "\n## What is promised\n")
	promises, _, _ = strings.Cut(promises, "\n## ")
	rows := 0
	for row := range strings.Lines(promises) {
		if !strings.HasPrefix(row, "| ") || strings.HasPrefix(row, "| ---") || strings.HasPrefix(row, "| promise ") {
			continue
		}
		if rows++; !strings.Contains(row, "`Test") && !strings.Contains(row, "`Fuzz") {
			t.Errorf("no test shows this: %s", row)
		}
	}
	if rows < 25 {
		t.Errorf("there are %d promises: their section is no longer found", rows)
	}
}
