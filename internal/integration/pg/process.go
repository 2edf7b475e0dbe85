package pg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// keeper stops a server when it is told to or when this process is gone.
type keeper struct {
	dir      string
	shell    *exec.Cmd
	lifeline io.Closer // the only writing end of the shell's standard input
	once     sync.Once
	err      error
}

// keep starts a keeper that in the end runs a command and removes the directory.
func keep(dir string, stop ...string) (*keeper, error) {
	const script = `read -r _; dir=$1; shift; "$@"; cd / && rm -rf "$dir"`
	k := &keeper{dir: dir, shell: command(context.Background(), dir, "/bin/sh", append([]string{"-c", script, "sh", dir}, stop...)...)}
	var err error
	if k.lifeline, err = k.shell.StdinPipe(); err != nil {
		return nil, err
	}
	if err := k.shell.Start(); err != nil {
		return nil, err
	}
	return k, nil
}

func (k *keeper) stop() error {
	k.once.Do(func() {
		k.err = errors.Join(k.lifeline.Close(), k.shell.Wait(), os.RemoveAll(k.dir))
	})
	return k.err
}

// tempDir makes a directory that belongs to the user whom the servers run as.
func tempDir() (string, error) {
	dir, err := os.MkdirTemp("", "outhook-pg-")
	if err != nil {
		return "", err
	}
	c, err := credential()
	if err == nil && c != nil {
		err = os.Chown(dir, int(c.Uid), int(c.Gid))
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(dir))
	}
	return dir, nil
}

// command prepares a program to run in the directory, as the user to whom that
// belongs, and out of reach of a terminal's Ctrl-C, after which tests may still
// need it.
func command(ctx context.Context, dir, name string, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, name, args...)
	c.Dir = dir
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	c.SysProcAttr.Credential, _ = credential() // tempDir has reported the error
	c.WaitDelay = time.Second
	return c
}

// run reports what a program said when it failed.
func run(c *exec.Cmd) error {
	if output, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", c.Path, err, output)
	}
	return nil
}

// credential returns the user whom the servers run as; nil is the process's own.
func credential() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup(superuser)
	if err != nil {
		return nil, fmt.Errorf("%w: root needs the user %s to run it as: %w", ErrMissing, superuser, err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}
