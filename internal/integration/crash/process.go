package crash

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// process is a program in a process of its own.
type process struct {
	command *exec.Cmd
	in      io.WriteCloser
	stderr  bytes.Buffer
	ended   chan struct{} // closed when it has ended and all that it wrote is read
	err     error         // that of Wait
}

// start starts this executable as a program. Each line that it writes goes to
// the function, from one goroutine.
func start(p program, line func(words []string)) (*process, error) {
	text, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	executable, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &process{command: exec.Command(executable), ended: make(chan struct{})}
	s.command.Env = append(os.Environ(), programVariable+"="+string(text))
	s.command.Stderr = &s.stderr
	if s.in, err = s.command.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.command.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(s.ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			line(strings.Fields(lines.Text()))
		}
		s.err = s.command.Wait()
	}()
	return s, nil
}

// signal sends a signal, in vain if the process has ended.
func (s *process) signal(signal syscall.Signal) { _ = s.command.Process.Signal(signal) }

// stop ends the program's input, at which it ends by itself.
func (s *process) stop() error {
	_ = s.in.Close()
	<-s.ended
	return s.failure()
}

// failure returns why the program has not ended well.
func (s *process) failure() error {
	if s.err != nil || s.stderr.Len() > 0 {
		return fmt.Errorf("the program has ended with %v and said:\n%s", s.err, s.stderr.String())
	}
	return nil
}

// killed reports whether SIGKILL has ended the process.
func (s *process) killed() bool {
	status, ok := s.command.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}
