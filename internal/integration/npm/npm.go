// Package npm installs what tests need from npm, once for each lock file.
package npm

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// Install returns a directory with the packages of the package-lock.json among
// files: below name in the user's cache, so that they are installed once. It
// fails where Node.js or npm is missing.
func Install(name string, files fs.FS) (string, error) {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return "", err
		}
	}
	lock, err := fs.ReadFile(files, "package-lock.json")
	if err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	cache = filepath.Join(cache, name)
	ready := filepath.Join(cache, fmt.Sprintf("%.16x", sha256.Sum256(lock)))
	if _, err := os.Stat(ready); err == nil {
		return ready, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	fresh, err := os.MkdirTemp(cache, "install-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(fresh)
	if err := install(fresh, files); err != nil {
		return "", err
	}
	// Renaming is atomic: of two tests that install at a time, one is first and
	// the other uses what it made.
	if err := os.Rename(fresh, ready); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	return ready, nil
}

func install(directory string, files fs.FS) error {
	if err := os.CopyFS(directory, files); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
	npm.Dir = directory
	npm.WaitDelay = time.Second
	if output, err := npm.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w: %.200q", err, output)
	}
	return nil
}
